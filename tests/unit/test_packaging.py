"""Wheel, sdist and what the Debian package lays out; what it does on a host is tests/packaging."""

import re
import shutil
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from debian import build, wheels
from dialplan_sms import __version__

TOP = Path(__file__).parents[2]
DOCS = {
    str(path.relative_to(TOP))
    for pattern in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/pictures/*")
    for path in TOP.glob(pattern)
}
"""What is read, with links from one to the other."""
SCRIPTS = ("postinst", "prerm", "postrm", "dialplan-sms.rtupdate")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    source = tmp_path_factory.mktemp("source")
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")
    for name in ("agi", "debian", "dialplan", "docs", "man", "systemd", "tests", ".ci"):
        shutil.copytree(TOP / name, source / name, ignore=skipped)
    for path in TOP.iterdir():
        if path.is_file():
            shutil.copy(path, source / path.name)
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return folder


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the Debian package installs, below a folder."""
    root = tmp_path_factory.mktemp("deb") / "root"
    build.lay(root, "amd64")
    return root


def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_has_what_runs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(contents(wheel))
    package = TOP / "agi/dialplan_sms"
    kinds = (".py", ".html", ".css", ".js", ".svg", ".json")
    wanted = {
        f"dialplan_sms/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.suffix in kinds and "_cache" not in str(path)
    }
    data = f"dialplan_sms-{__version__}.data"
    share = {f"{data}/data/share/dialplan-sms/{path.name}" for path in TOP.glob("dialplan/*.*")}
    share |= {
        f"{data}/data/share/man/man{path.suffix[1:]}/{path.name}" for path in TOP.glob("man/*.[15]")
    }
    share |= {f"{data}/data/share/dialplan-sms/dialplan-sms.service", f"{data}/scripts/sms.agi"}
    share |= {f"{data}/data/share/doc/dialplan-sms/{name}" for name in DOCS}
    assert {path for path in wanted if path.endswith(".html")}
    assert {name for name in names if ".dist-info/" not in name} == wanted | share


def test_sdist_and_tree_make_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert contents(wheel) == contents(build._own_wheel(tmp_path))
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "CHANGELOG.md", "debian/build.py", "tests/unit/test_packaging.py"} <= names
    assert not [name for name in names if "__pycache__" in name]


def test_a_wheels_program_runs(built: Path, tmp_path: Path) -> None:
    """As pipx has it: in an environment of its own; the packages it needs are this one's."""
    (wheel,) = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    python = tmp_path / "bin/python3"
    (ours,) = Path(sys.prefix).glob("lib/python3*/site-packages")
    (theirs,) = tmp_path.glob("lib/python3*/site-packages")
    (theirs / "needed.pth").write_text(f"{ours}\n")
    pip = [
        str(python),
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "install",
        "--no-deps",
    ]
    subprocess.run([*pip, "--ignore-installed", str(wheel)], check=True)
    said = subprocess.run(
        [tmp_path / "bin/dialplan-sms", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"dialplan-sms, version {__version__}\n"
    assert (tmp_path / "bin/sms.agi").stat().st_mode & 0o111 == 0o111
    assert (tmp_path / "share/dialplan-sms/extensions-sms.conf").is_file()


def test_the_changelog_of_debian_is_of_this_version() -> None:
    version, when = build.changelog()
    assert version == __version__.replace(".dev", "~dev")
    assert when > 1_700_000_000


def test_the_locked_wheels_are_what_setup_cfg_asks_for() -> None:
    setup = ConfigParser()
    setup.read(TOP / "setup.cfg")
    extras = (setup["options.extras_require"][extra] for extra in wheels.EXTRAS)
    lines = "\n".join([setup["options"]["install_requires"], *extras]).split("\n")
    names = {re.split(r"[^\w.-]", line)[0].replace("-", "_") for line in lines if line}
    for machine in build.MACHINES.values():
        locked = wheels.locked(machine)
        assert names <= {wheel.name.split("-")[0] for wheel in locked}
        assert {wheel.python for wheel in locked} == set(wheels.PYTHONS)


def test_every_python_has_its_compiled_modules(laid: Path) -> None:
    modules: dict[str, set[str]] = {}
    for path in (laid / build.SITE).rglob("*.cpython-*.so"):
        name, python, _ = path.name.split(".")
        modules.setdefault(f"{path.parent}/{name}", set()).add(python.split("-")[1])
    assert len(modules) > 10
    wanted = {python.replace(".", "") for python in wheels.PYTHONS}
    assert {name: pythons for name, pythons in modules.items() if pythons != wanted} == {}


def test_the_package_lays_out(laid: Path) -> None:
    files = {str(path.relative_to(laid)) for path in laid.rglob("*") if not path.is_dir()}
    rest = {name for name in files if not name.startswith(f"{build.SITE}/")}
    program = {
        f"usr/lib/dialplan-sms/{name}" for name in ("pyvenv.cfg", "bin/dialplan-sms", "bin/sms.agi")
    }
    doc = {
        f"usr/share/doc/dialplan-sms/{name}"
        for name in ("copyright", "changelog.gz", "changelog.Debian.gz", *DOCS)
    }
    share = {
        f"usr/lib/dialplan-sms/share/dialplan-sms/{path.name}" for path in TOP.glob("dialplan/*.*")
    }
    share.add("usr/lib/dialplan-sms/share/dialplan-sms/dialplan-sms.service")
    share |= {
        f"usr/share/man/man{path.suffix[1:]}/{path.name}.gz" for path in TOP.glob("man/*.[15]")
    }
    assert rest - {"usr/lib/dialplan-sms/bin/python3"} == program | doc | share | {
        build.CONFFILE, build.UNIT, *build._COMPLETIONS.values(),
        "usr/bin/dialplan-sms", "usr/share/asterisk/agi-bin/sms.agi",
        "usr/share/python3/runtime.d/dialplan-sms.rtupdate",
    }  # fmt: skip
    assert not [name for name in files if name.endswith(".pyc")]
    assert (laid / "usr/lib/dialplan-sms/share/doc/dialplan-sms/docs/cookbook.md").is_file()
    link = laid / "usr/share/asterisk/agi-bin/sms.agi"
    assert str(link.readlink()) == "/usr/lib/dialplan-sms/bin/sms.agi"
    script = laid / "usr/lib/dialplan-sms/bin/sms.agi"
    assert script.read_text().startswith("#!/usr/lib/dialplan-sms/bin/python3 -IS\n")
    assert "ExecStart=/usr/bin/dialplan-sms serve" in (laid / build.UNIT).read_text()


def test_each_completion_knows_the_program(laid: Path) -> None:
    for shell, path in build._COMPLETIONS.items():
        script = (laid / path).read_text()
        assert f"_DIALPLAN_SMS_COMPLETE={shell}_complete" in script, path
    zsh = (laid / build._COMPLETIONS["zsh"]).read_text()
    assert zsh.startswith("#compdef dialplan-sms\n")


def test_every_package_is_named_in_copyright(laid: Path) -> None:
    copyright_ = (laid / "usr/share/doc/dialplan-sms/copyright").read_text()
    stanzas = re.findall(r"\nLicense: (.+)\nComment: (\S+) ", copyright_)
    assert len(stanzas) == len(list((laid / build.SITE).glob("*.dist-info"))) - 1
    assert [name for terms, name in stanzas if terms == "see its page"] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_maintainer_scripts_are_posix(name: str) -> None:
    text = (TOP / "debian" / name).read_text()
    assert text.startswith("#!/bin/sh\n")
    assert re.search(r"^set -e$", text, re.MULTILINE)
    for shell in filter(shutil.which, ("sh", "dash", "bash")):
        subprocess.run([shell, "-n", TOP / "debian" / name], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--shell=sh", TOP / "debian" / name], check=True)


def test_the_states_that_purge_takes_for_ended_are_the_programs() -> None:
    from dialplan_sms.outbox.schema import ENDED, message

    (listed,) = re.findall(
        r'^ended = "\((.+)\)"$', (TOP / "debian/postrm").read_text(), re.MULTILINE
    )
    assert set(listed.replace("'", "").split(", ")) == set(ENDED)
    assert f"FROM {message.name} " in (TOP / "debian/postrm").read_text()


def test_a_command_in_the_middle_of_an_update_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dialplan_sms.cli.main", None)
    with pytest.raises(SystemExit, match="cli.main.*: try again once no update runs"):
        exec(build._COMMAND, {})
