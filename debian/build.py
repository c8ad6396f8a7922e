"""Build the Debian package: ``python -m debian.build [FOLDER]``; prints how to install it.

Below /usr/lib/dialplan-sms lies a virtual environment of the host's Python, whichever of
`PYTHONS` that is: pure modules are the same for all of them, and compiled ones have the Python in
their name, so the wheels for each lie over each other. So nothing is fetched or built when the
package is installed. Needs dpkg-deb alone; the same sources make the same bytes.
"""

import gzip
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from email.parser import HeaderParser
from email.utils import parsedate_to_datetime
from pathlib import Path
from zipfile import ZipFile

from debian import wheels
from dialplan_sms.host.installation import write_script

HERE = Path(__file__).parent
TOP = HERE.parent
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
PREFIX = Path("usr/lib/dialplan-sms")
SITE = PREFIX / "lib/python3/site-packages"
PYTHON = Path("/", PREFIX, "bin/python3")
DOC = "share/doc/dialplan-sms"
CONFFILE = "etc/asterisk/extensions-sms.conf"
UNIT = "usr/lib/systemd/system/dialplan-sms.service"
_SOURCES = (
    "agi", "dialplan", "docs", "man", "systemd",
    "setup.cfg", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
)  # fmt: skip
_LEFT_OUT = re.compile(
    r"[^/]+\.dist-info/(RECORD|WHEEL|sboms/.*)"  # these alone differ between the Pythons
    r"|phonenumbers/geodata/.*"  # names of places, 20 MB that nothing here asks for
    r"|[^/]+\.data/data/share/man/.*"  # they go where man looks for them
)
_COMMAND = f"""\
#!{PYTHON} -I
import sys

try:
    from dialplan_sms.cli.main import main
except ImportError as error:  # dpkg changes one file after the other
    sys.exit(f"Error: {{error}}: try again once no update runs, else install dialplan-sms again")
sys.exit(main())
"""
_VENV = "home = /usr/bin\ninclude-system-site-packages = false\n"
_COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/dialplan-sms",
    "zsh": "usr/share/zsh/vendor-completions/_dialplan-sms",
    "fish": "usr/share/fish/vendor_completions.d/dialplan-sms.fish",
}


def build(folder: Path) -> Path:
    """The .deb of this tree, in *folder*."""
    os.umask(0o022)
    version, when = changelog()
    architecture = _architecture()
    os.environ.setdefault("SOURCE_DATE_EPOCH", str(when))
    with tempfile.TemporaryDirectory(prefix="deb-") as temporary:
        root = Path(temporary, "root")
        lay(root, architecture)
        _control(root, version, architecture)
        name = f"dialplan-sms_{version}_{architecture}.deb"
        made = pack(root, Path(temporary, name))
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(made, folder / name))


def changelog() -> tuple[str, int]:
    """The version and the time of the newest entry; the version is the program's, or it ends."""
    text = (HERE / "changelog").read_text()
    head = re.match(r"dialplan-sms \((\S+)\)", text)
    date = re.search(r"^ -- .*>  (.+)$", text, re.MULTILINE)
    ours = re.search(r'__version__ = "(.+)"', (TOP / "agi/dialplan_sms/__init__.py").read_text())
    # Debian sorts 0.2.0~dev0 before 0.2.0, as Python does 0.2.0.dev0.
    if not (head and date and ours) or head[1] != ours[1].replace(".dev", "~dev"):
        raise SystemExit("the first entry of debian/changelog is not of this version")
    return head[1], int(parsedate_to_datetime(date[1]).timestamp())


def lay(root: Path, architecture: str) -> None:
    """Lay out what the package installs below *root*."""
    prefix, site = root / PREFIX, root / SITE
    for wheel in [*wheels.fetch(wheels.locked(MACHINES[architecture])), _own_wheel(root.parent)]:
        _unpack(wheel, prefix, site)
    (prefix / "pyvenv.cfg").write_text(_VENV)
    for python in wheels.PYTHONS:
        (prefix / f"lib/python{python}").symlink_to("python3")
    (prefix / "bin/python3").symlink_to("../../../bin/python3")
    write_script(prefix / "bin/sms.agi", prefix / "bin/sms.agi", PYTHON)
    _write(prefix / "bin/dialplan-sms", _COMMAND, 0o755)
    _link(root, "usr/bin/dialplan-sms", PREFIX / "bin/dialplan-sms")
    agi_bin = root / "usr/share/asterisk/agi-bin"
    agi_bin.mkdir(parents=True)
    # Absolute, though within /usr: so dialplan-sms setup knows it for the program's own.
    (agi_bin / "sms.agi").symlink_to(Path("/", PREFIX, "bin/sms.agi"))
    _link(root, "usr/share/doc/dialplan-sms/examples", PREFIX / "share/dialplan-sms")
    _write(root / CONFFILE, (TOP / "dialplan/extensions-sms.conf").read_text())
    _write(root / UNIT, _unit())
    hook = (HERE / "dialplan-sms.rtupdate").read_text()
    _write(root / "usr/share/python3/runtime.d/dialplan-sms.rtupdate", hook, 0o755)
    for shell, path in _COMPLETIONS.items():
        _write(root / path, _completion(site, shell))
    for page in TOP.glob("man/*.[15]"):
        _zip(page, root / f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz")
    doc = root / "usr/share/doc/dialplan-sms"
    shutil.copytree(prefix / DOC, doc, dirs_exist_ok=True)
    shutil.rmtree(prefix / DOC)
    _link(root, str(PREFIX / DOC), doc.relative_to(root))
    _write(doc / "copyright", (HERE / "copyright").read_text() + "".join(_carried(site)))
    for source, name in (
        (HERE / "changelog", "changelog.Debian.gz"),
        (TOP / "CHANGELOG.md", "changelog.gz"),
    ):
        _zip(source, doc / name)


def pack(root: Path, deb: Path, *options: str) -> Path:
    """The .deb of a tree that has its DEBIAN folder; owned by root, sorted, times cut."""
    # With one thread xz would write other bytes than with several.
    environment = os.environ | {"DPKG_DEB_THREADS_MAX": "2"}
    command = ["dpkg-deb", "--root-owner-group", *(options or ["-Zxz"]), "--build", root, deb]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return deb


def _architecture() -> str:
    command = ["dpkg", "--print-architecture"]
    name = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if name not in MACHINES:
        raise SystemExit(f"no package for {name}, only for {', '.join(MACHINES)}: use make install")
    return name


def _own_wheel(folder: Path) -> Path:
    """A wheel of this tree, built from a copy: setuptools leaves things behind, and takes them."""
    copy = folder / "source"
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")
    for name in _SOURCES:
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=skipped)
        else:
            shutil.copy(source, copy / name)
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
    subprocess.run([*command, "--no-deps", "--wheel-dir", folder, copy], check=True)
    return next(folder.glob("dialplan_sms-*.whl"))


def _unpack(wheel: Path, prefix: Path, site: Path) -> None:
    with ZipFile(wheel) as archive:
        for info in archive.infolist():
            if info.is_dir() or _LEFT_OUT.fullmatch(info.filename):
                continue
            found = re.fullmatch(r"[^/]+\.data/(scripts|data)/(.+)", info.filename)
            if found is None:
                target = site / info.filename
            else:
                target = prefix / ("bin" if found[1] == "scripts" else "") / found[2]
            data = archive.read(info)
            if not target.resolve().is_relative_to(prefix.resolve()):
                raise SystemExit(f"{wheel.name}: {info.filename} leaves its folder")
            if target.exists() and target.read_bytes() != data:
                raise SystemExit(f"{wheel.name}: another wheel has another {info.filename}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


def _unit() -> str:
    """The unit file, for the command's place in a package."""
    text = (TOP / "systemd/dialplan-sms.service").read_text()
    unit = text[text.index("[Unit]") :]
    ours = "ExecStart=/usr/bin/dialplan-sms "
    unit, count = re.subn(r"(?m)^ExecStart=\S+ ", ours, unit)
    if count != 1:
        raise SystemExit("systemd/dialplan-sms.service has not one ExecStart")
    return f"# Change it with: systemctl edit dialplan-sms\n{unit}"


def _completion(site: Path, shell: str) -> str:
    """click's own script, made by the program that is packed."""
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n"
    code += "from dialplan_sms.cli.main import main; main(prog_name='dialplan-sms')"
    done = subprocess.run(
        [sys.executable, "-ISB", "-c", code],
        env=os.environ | {"_DIALPLAN_SMS_COMPLETE": f"{shell}_source"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip() + "\n"


def _carried(site: Path) -> Iterator[str]:
    """What debian/copyright says of each distribution that is packed, by its own metadata."""
    for metadata in sorted(site.glob("*.dist-info/METADATA")):
        said = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
        if said["Name"] == "dialplan-sms":
            continue
        classifiers = map(str, said.get_all("Classifier", []))
        named = [
            text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")
        ]
        short = (said["License-Expression"] or said["License"] or "").strip()
        terms = short if short and "\n" not in short else ", ".join(named) or "see its page"
        yield (
            f"\nFiles: /{SITE}/{metadata.parent.name.partition('-')[0]}*\n"
            f"Copyright: the authors of {said['Name']}\nLicense: {terms}\n"
            f"Comment: {said['Name']} {said['Version']}, as on https://pypi.org/project/"
            f"{said['Name']}/{said['Version']}/, its sources too\n"
        )


def _control(root: Path, version: str, architecture: str) -> None:
    """DEBIAN/: what dpkg is told, and what it runs."""
    folder = root / "DEBIAN"
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files) // 1024
    fields = f"Version: {version}\nArchitecture: {architecture}\nInstalled-Size: {size}\n"
    first, _, rest = (HERE / "control").read_text().partition("\n")
    _write(folder / "control", f"{first}\n{fields}{rest}")
    _write(folder / "conffiles", f"/{CONFFILE}\n")
    sums = (f"{_md5(path)}  {path.relative_to(root)}\n" for path in files)
    _write(folder / "md5sums", "".join(sums))
    for script in ("postinst", "prerm", "postrm"):
        _write(folder / script, (HERE / script).read_text(), 0o755)


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _zip(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gzip.compress(source.read_bytes(), mtime=0))


def _link(root: Path, link: str, target: Path) -> None:
    """A relative link, as Debian has them within /usr."""
    path = root / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(os.path.relpath(target, Path(link).parent))


if __name__ == "__main__":
    made = build(Path(sys.argv[1] if sys.argv[1:] else "dist")).resolve()
    print(f"To install it, as root: apt install {shlex.quote(str(made))}")
