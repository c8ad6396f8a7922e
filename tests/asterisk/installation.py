"""An Asterisk that can be started, wherever it came from."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


class AsteriskUnavailable(Exception):
    """No Asterisk could be had; the message is one line that says what to do."""


@dataclass(frozen=True)
class Installation:
    """Where one Asterisk lies and how it is run."""

    version: str  # "22.10.1"
    command: tuple[str, ...]  # runs asterisk; its options follow
    modules: Path
    data: Path
    root: Path | None = None  # the unpacked tree; None for one that the host has installed

    @property
    def major(self) -> int:
        """22 for 22.10.1."""
        return int(self.version.split(".")[0])


def unpacked(root: Path) -> Installation:
    """The Asterisk in a tree of unpacked Debian packages."""
    command = (*libraries(root), str(root / "usr/sbin/asterisk"))
    modules = _one(root, "usr/lib/*/asterisk/modules", "usr/lib/asterisk/modules")
    return Installation(version_of(command), command, modules, root / "usr/share/asterisk", root)


def libraries(root: Path) -> tuple[str, ...]:
    """Runs the program that follows by the loader and libraries of a tree of Debian packages.

    The host's C library may be older.
    """
    loader = _one(root, "lib/*/ld-linux*.so.*", "usr/lib/*/ld-linux*.so.*")
    triplet = loader.parent.name
    places = [root / "lib" / triplet, root / "usr/lib" / triplet, root / "usr/lib"]
    return (str(loader), "--library-path", ":".join(map(str, filter(Path.is_dir, places))))


def installed(binary: Path) -> Installation:
    """An Asterisk that the host has installed, such as /usr/sbin/asterisk."""
    if not binary.is_file():
        raise AsteriskUnavailable(f"DIALPLAN_SMS_ASTERISK: {binary} is not a file")
    version = version_of((str(binary),))
    prefix = binary.parent.parent
    modules = _one(
        prefix, "lib/*/asterisk/modules", "lib/asterisk/modules", "lib64/asterisk/modules"
    )
    places = [prefix / "share/asterisk", Path("/var/lib/asterisk")]
    data = next((place for place in places if (place / "documentation").is_dir()), places[-1])
    return Installation(version, (str(binary),), modules, data)


def version_of(command: tuple[str, ...]) -> str:
    """The version that `asterisk -V` prints, without the distribution's suffix."""
    try:
        answer = subprocess.run(
            [*command, "-V"], capture_output=True, text=True, timeout=20, check=False
        )
    except OSError as error:
        raise AsteriskUnavailable(f"{command[0]} does not run: {error.strerror}") from error
    found = re.search(r"Asterisk (?:certified/)?(\d+(?:\.\d+)*)", answer.stdout)
    if found is None:
        said = (answer.stderr or answer.stdout).strip().splitlines()[-1:]
        raise AsteriskUnavailable(f"{' '.join(command)} -V: no version in the answer {said}")
    return found[1]


def _one(folder: Path, *patterns: str) -> Path:
    for pattern in patterns:
        for match in sorted(folder.glob(pattern)):
            return match
    raise AsteriskUnavailable(f"{folder} holds none of {', '.join(patterns)}")
