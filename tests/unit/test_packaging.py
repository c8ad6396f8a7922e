"""Wheel, sdist, unit and what the Debian package lays out; on a host it is tests/packaging."""

import re
import shutil
import subprocess
import sys
import tarfile
from configparser import ConfigParser, RawConfigParser
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from zipfile import ZipFile

import pytest

import dialplan_sms
from debian import build, wheels
from dialplan_sms import __version__, sandbox
from dialplan_sms.agi import doors
from dialplan_sms.cli import main
from dialplan_sms.daemon import server
from dialplan_sms.outbox.schema import ENDED, message

TOP = Path(__file__).parents[2]
DOCS = {
    str(path.relative_to(TOP))
    for pattern in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "docs/pictures/*")
    for path in TOP.glob(pattern)
}
"""What is read, with links from one to the other."""
PAGES = [(f"man/man{path.suffix[1:]}", path.name) for path in TOP.glob("man/*.[15]")]
SHARED = {*(path.name for path in TOP.glob("dialplan/*.*")), "dialplan-sms.service"}
MODULES = [
    module.name
    for module in walk_packages(dialplan_sms.__path__, "dialplan_sms.")
    if not module.name.endswith(".__main__")  # which runs
]
SCRIPTS = ("postinst", "prerm", "postrm", "dialplan-sms.rtupdate")
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_names_that_it_offers(name: str) -> None:
    module = import_module(name)
    for offered in getattr(module, "__all__", ()):
        assert getattr(module, offered) is not None, offered


def test_the_stand_in_pbx_offers_its_requests() -> None:
    assert sandbox.Request.__module__ == "dialplan_sms.sandbox.pbx"


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
    share = {f"dialplan-sms/{name}" for name in SHARED}
    share |= {f"{folder}/{name}" for folder, name in PAGES}
    share |= {f"doc/dialplan-sms/{name}" for name in DOCS}
    wanted |= {f"{data}/data/share/{name}" for name in share} | {f"{data}/scripts/sms.agi"}
    assert {path for path in wanted if path.endswith(".html")}
    assert {name for name in names if ".dist-info/" not in name} == wanted


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
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--ignore-installed", str(wheel)], check=True)
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
    program = {"pyvenv.cfg", "bin/dialplan-sms", "bin/sms.agi"}
    program |= {f"share/dialplan-sms/{name}" for name in SHARED}
    share = {f"{folder}/{name}.gz" for folder, name in PAGES}
    doc = ("copyright", "changelog.gz", "changelog.Debian.gz", *DOCS)
    share |= {f"doc/dialplan-sms/{name}" for name in doc}
    wanted = {f"usr/lib/dialplan-sms/{name}" for name in program}
    assert rest - {"usr/lib/dialplan-sms/bin/python3"} == wanted | {
        *(f"usr/share/{name}" for name in share), build.CONFFILE, build.UNIT, *build._COMPLETIONS.values(),
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
    script = (TOP / "debian/postrm").read_text()
    (listed,) = re.findall(r'^ended = "\((.+)\)"$', script, re.MULTILINE)
    assert set(listed.replace("'", "").split(", ")) == set(ENDED)
    assert f"FROM {message.name} " in script


def test_a_command_in_the_middle_of_an_update_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dialplan_sms.cli.main", None)
    with pytest.raises(SystemExit, match="cli.main.*: try again once no update runs"):
        exec(build._COMMAND, {})


def test_the_unit_fits_the_program() -> None:
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(TOP / "systemd/dialplan-sms.service")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].split()[-1] in main._COMMANDS
    assert Path(doors.SOCKET).parent == Path("/run", service["RuntimeDirectory"])
    assert int(service["TimeoutStopSec"]) > server.DRAIN
    assert int(service["WatchdogSec"]) >= 30
    assert int(service["LimitNOFILE"]) > 3 * 4096  # max_calls at most, each with one to the PBX
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"  # it is never left dead
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["User"] == "asterisk"


def install(folder: Path, **settings: str) -> tuple[int, str]:
    """Exit status of make install, and what it says."""
    given = {"PREFIX": f"{folder}/program", "AGI_BIN": str(folder), "ASTERISK_ETC": str(folder)}
    words = [f"{name}={value}" for name, value in (given | settings).items()]
    done = subprocess.run(
        ["make", "--no-print-directory", "install", *words],
        cwd=TOP, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert not (folder / "program").exists()
    return done.returncode, done.stdout


@pytest.mark.parametrize("wrong", ["postgres", "postgresql,mysql", "postgresql mysql"])
def test_a_word_that_is_no_extra_is_refused(tmp_path: Path, wrong: str) -> None:
    word = wrong.replace(",", " ").split()[-1]
    setup = ConfigParser()
    setup.read(TOP / "setup.cfg")
    extras = " ".join(setup["options.extras_require"])
    says = f"WITH={word} is no extra, allowed: {extras}\n"
    assert install(tmp_path, WITH=wrong) == (2, says)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    says = f"AGI_BIN={tmp_path}/none is no folder: give Asterisk's agi-bin\n"
    assert install(tmp_path, WITH="postgresql", AGI_BIN=f"{tmp_path}/none") == (2, says)


def test_dist_builds_what_the_tests_of_the_wheel_look_at() -> None:
    command = ["make", "--dry-run", "dist", "DIST=/x"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    assert '-m build --outdir "/x" .' in done.stdout
