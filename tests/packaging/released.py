"""dialplan-sms 0.1.0 as it was released: what becomes of it at an upgrade is tried with its own code.

dialplan-sms-0.1.0.tar.xz has what a build of that commit needs, so that a shallow clone has it, too.
`COMMAND` has made it, at the top of the repository.
"""

import lzma
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from debian import wheels
from tests.packaging.root import run

VERSION = "0.1.0"
COMMIT = "39d5f30626da5f4c0453bb9793fe2ee5fe8c0073"
ARCHIVE = Path(__file__).with_name(f"dialplan-sms-{VERSION}.tar.xz")
_PATHS = (
    "agi debian dialplan systemd CHANGELOG.md LICENSE Makefile README.md pyproject.toml setup.cfg"
)
TAR = f"git archive --format=tar --prefix=dialplan-sms-{VERSION}/ {COMMIT} {_PATHS}"
COMMAND = f"{TAR} | xz -9e >tests/packaging/{ARCHIVE.name}"


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

    def make(self, *words: str, **more: str) -> None:
        """Its own ``make``."""
        environment = self.environment | {"PYTHONPATH": ""} | more
        run("make", "--silent", "-C", self.source, *words, environment=environment)

    def deb(self, folder: Path) -> Path:
        """Its Debian package; what builds it is this run's environment, which make leaves alone."""
        venv = Path(sys.prefix)
        words = (f"VENV={venv}", f"--old-file={venv}/bin/sms.agi", "deb", f"DIST={folder}")
        # The same files a minute sooner.
        path = self.environment["PYTHONPATH"]
        self.make(*words, PYTHONPATH=path, DPKG_DEB_COMPRESSOR_LEVEL="0")
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
        run(*command, "--no-deps", "--wheel-dir", folder, self.source)
        (made,) = folder.glob("*.whl")
        return made

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """A command of its own."""
        return subprocess.run(
            [*self.program, *arguments], env=self.environment, input=stdin,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
