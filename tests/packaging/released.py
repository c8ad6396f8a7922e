"""dialplan-sms 0.1.0 as it was released: what becomes of it at an upgrade is tried with its own code.

dialplan-sms-0.1.0.tar.xz has what a build of that commit needs, so that a shallow clone has it, too.
`COMMAND` has made it, at the top of the repository.
"""

import io
import lzma
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from debian import wheels

VERSION = "0.1.0"
COMMIT = "39d5f30626da5f4c0453bb9793fe2ee5fe8c0073"
ARCHIVE = Path(__file__).with_name(f"dialplan-sms-{VERSION}.tar.xz")
_PATHS = (
    "agi debian dialplan systemd CHANGELOG.md LICENSE Makefile README.md pyproject.toml setup.cfg"
)
_TAR = f"git archive --format=tar --prefix=dialplan-sms-{VERSION}/ {COMMIT} {_PATHS}"
COMMAND = f"{_TAR} | xz -9e >tests/packaging/{ARCHIVE.name}"
TOP = Path(__file__).parents[2]
_VENV = Path(sys.prefix)


def at_commit() -> bytes | None:
    """The same files as the clone's history has them, as a tar file; None if it does not."""
    try:
        done = subprocess.run(_TAR.split(), cwd=TOP, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def contents(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Each file of a tar archive, compressed or not: its mode and what is in it."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            data = tar.extractfile(member) if member.isfile() else None
            found[member.name] = (member.mode, data.read() if data else b"")
    return found


class Released:
    """Its sources, unpacked in *folder*."""

    def __init__(self, folder: Path) -> None:
        tar = lzma.decompress(ARCHIVE.read_bytes())
        subprocess.run(["tar", "-x", "-C", folder], input=tar, check=True)
        self.source = folder / f"dialplan-sms-{VERSION}"
        self.environment = os.environ | {"PYTHONPATH": str(self.source / "agi")}
        """Has this run's Python take its package for ``dialplan_sms``."""
        self.program = (
            sys.executable, "-c", "from dialplan_sms.cli import main; main(prog_name='dialplan-sms')",
        )  # fmt: skip
        """Its command in that environment, with the packages of this run."""

    def make(self, *words: str) -> str:
        """What its own ``make`` said."""
        return _run(
            "make", "--silent", "-C", str(self.source), *words,
            environment=self.environment | {"PYTHONPATH": ""},
        )  # fmt: skip

    def deb(self, folder: Path) -> Path:
        """Its Debian package; what builds it is this run's environment, which make leaves alone."""
        script = _VENV / "bin/sms.agi"
        words = (f"VENV={_VENV}", f"--old-file={script}", "deb", f"DIST={folder}")
        quick = {"DPKG_DEB_COMPRESSOR_LEVEL": "0"}  # the same files a minute sooner
        _run(
            "make", "--silent", "-C", str(self.source), *words,
            environment=self.environment | quick,
        )  # fmt: skip
        (made,) = folder.glob("*.deb")
        return made

    def wheels(self) -> Iterator[Path]:
        """The wheels of other projects that its package has."""
        lines = (self.source / "debian/wheels.txt").read_text().splitlines()
        locked = [wheels.Wheel(*line.split()) for line in lines]
        return wheels.fetch(each for each in locked if each.fits(platform.machine()))

    def wheel(self, folder: Path) -> Path:
        """Its wheel."""
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel"]
        _run(*command, "--no-deps", "--wheel-dir", str(folder), str(self.source))
        (made,) = folder.glob("*.whl")
        return made

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """A command of its own."""
        return subprocess.run(
            [*self.program, *arguments], env=self.environment, input=stdin,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
