"""The wheels that the Debian package carries: which they are (wheels.txt), and how they are got.

``python -m debian.wheels`` writes wheels.txt anew, with the newest versions that setup.cfg allows.
Run it with Python 3.11: pip judges "only before Python 3.x" by the Python that it runs on.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LOCK = HERE / "wheels.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The Pythons that the package serves: Debian 12 has the first, forky the last."""
EXTRAS = ("postgresql", "http", "sandbox")
_MACHINES = ("x86_64", "aarch64")
_LIBC = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Debian 12 has glibc 2.36."""


@dataclass(frozen=True)
class Wheel:
    """One line of wheels.txt."""

    sha256: str
    name: str  # of the file

    @property
    def requirement(self) -> str:
        """What pip is to be asked for."""
        distribution, version, *_ = self.name.split("-")
        return f"{distribution}=={version} --hash=sha256:{self.sha256}"

    @property
    def python(self) -> str:
        """The Python to download it for; one of any is downloaded for the first."""
        tag = self.name.split("-")[-3]
        known = (python for python in PYTHONS if tag == "cp" + python.replace(".", ""))
        return next(known, PYTHONS[0])

    def fits(self, machine: str) -> bool:
        """Whether it runs on this machine."""
        return self.name.endswith(("-any.whl", f"_{machine}.whl"))


def locked(machine: str) -> list[Wheel]:
    """What wheels.txt has for a machine; it is written as sha256sum writes."""
    lines = (line.split() for line in LOCK.read_text().splitlines())
    return [wheel for sha256, name in lines if (wheel := Wheel(sha256, name)).fits(machine)]


def fetch(wheels: Iterable[Wheel]) -> Iterator[Path]:
    """The wheels' files, from the cache or downloaded into it."""
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(wheels)
    missing = [wheel for wheel in wanted if not _is(folder / wheel.name, wheel.sha256)]
    for python in PYTHONS:
        if some := [wheel for wheel in missing if wheel.python == python]:
            _download(folder, python, some)
    for wheel in wanted:
        path = folder / wheel.name
        if not _is(path, wheel.sha256):
            raise SystemExit(f"{wheel.name} is not what {LOCK} says: delete {path}")
        yield path


def _download(folder: Path, python: str, wheels: list[Wheel]) -> None:
    with tempfile.TemporaryDirectory(prefix="wheels-", dir=folder) as part:
        wanted = Path(part, "wanted.txt")
        wanted.write_text("".join(f"{wheel.requirement}\n" for wheel in wheels))
        _pip("download", "--no-deps", "--require-hashes", "--dest", part, "--requirement",
             str(wanted), *_target(python, platform.machine()))  # fmt: skip
        for got in Path(part).glob("*.whl"):
            got.replace(folder / got.name)  # whole or not at all, whoever else builds


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _cache() -> Path:
    chosen = os.environ.get("DIALPLAN_SMS_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(chosen).absolute() if chosen else Path(home, "dialplan-sms")) / "wheels"


def _target(python: str, machine: str) -> list[str]:
    platforms = (f"--platform={libc}_{machine}" for libc in _LIBC)
    return ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *platforms]


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pip {arguments[0]} failed, see above")
    return done.stdout


def _newest() -> set[Wheel]:
    """What pip would install now, on every Python and machine."""
    setup = ConfigParser()
    setup.read(HERE.parent / "setup.cfg")
    extras = (setup["options.extras_require"][extra] for extra in EXTRAS)
    asked = "\n".join([setup["options"]["install_requires"], *extras]).split("\n")
    wanted = [requirement for requirement in asked if requirement]
    found = set()
    for machine in _MACHINES:
        for python in PYTHONS:
            report = _pip("install", "--dry-run", "--ignore-installed", "--report=-", "--target=/",
                          *_target(python, machine), *wanted)  # fmt: skip
            for package in json.loads(report)["install"]:
                where = package["download_info"]
                sha256 = where["archive_info"]["hashes"]["sha256"]
                found.add(Wheel(sha256, where["url"].rpartition("/")[2]))
    return found


def main() -> None:
    """Write wheels.txt."""
    wheels = sorted(_newest(), key=lambda wheel: wheel.name.lower())
    LOCK.write_text("".join(f"{wheel.sha256}  {wheel.name}\n" for wheel in wheels))


if __name__ == "__main__":
    main()
