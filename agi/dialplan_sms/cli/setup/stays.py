"""What ``--remove`` leaves on the host, and how to delete it."""

import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dialplan_sms.cli.setup import include
from dialplan_sms.cli.setup.host import Places
from dialplan_sms.cli.setup.manifest import Manifest
from dialplan_sms.cli.setup.surroundings import Surroundings
from dialplan_sms.host import files
from dialplan_sms.host.identity import HostError


def programs(manifest: Manifest, places: Places) -> list[Path]:
    """The folders that may hold the program: the usual one, and where links of setup lead.

    The package's is apt's to remove.
    """
    scripts = [Path(mark) for _, entry in manifest.of("link") for mark in entry.marks]
    named = {path.parents[1] for path in scripts if path.is_absolute() and path.parts[-2] == "bin"}
    return sorted((named | {places.prefix}) - {places.package})


def kept(found: Surroundings | None, folders: list[Path]) -> Iterator[str]:
    """What stays, and who still uses what is gone; *folders* are those of programs()."""
    if found is not None:
        yield from _of_asterisk(found)
    for folder in folders:
        if (folder / "bin/sms.agi").is_file():
            place = shlex.quote(str(folder))
            yield f"kept: {folder}, the program: rm -r {place} deletes it"
    if found is not None and (users := _callers(found.etc)):
        yield f"calls that still use sub-sms or sms.agi: see {', '.join(users)}"


def _of_asterisk(found: Surroundings) -> Iterator[str]:
    for path in (found.etc / "sms.conf", found.spool / "sms"):
        if path.exists():
            yield f"kept: {path}"
    # Of setup, which keeps no digest of what holds a password, and of migrate.
    for path in [found.etc / "sms.conf.new", *sorted(found.etc.glob("*.before-dialplan-sms*"))]:
        if path.is_file():
            place = shlex.quote(str(path))
            yield f"kept: {path}, which may hold a password: rm {place} deletes it"


def _callers(etc: Path) -> list[str]:
    """The files of the dialplan that use what is gone."""
    users = []
    for path in sorted(etc.glob("extensions*.conf")):
        with suppress(OSError, HostError):
            content = files.content_of(path) or b""
            if path.name != include.NAME and (b"(sub-sms" in content or b"(sms.agi" in content):
                users.append(str(path))
    return users
