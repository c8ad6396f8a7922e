"""Asterisk 22 and 16 without root, kept in a cache folder.

The cache is `$DIALPLAN_SMS_CACHE`, else `$XDG_CACHE_HOME/dialplan-sms`, else
`~/.cache/dialplan-sms`. Where `$DIALPLAN_SMS_ASTERISK` names an installed asterisk, that one is
used and nothing is fetched.
"""

import fcntl
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.asterisk import debian
from tests.asterisk.installation import AsteriskUnavailable, Installation, installed, unpacked

VERSIONS = (22, 16)
INSTALLED_VARIABLE = "DIALPLAN_SMS_ASTERISK"

_SUITES = {22: "forky", 16: "bullseye"}


def fetch(version: int, say: debian.Say = print) -> Installation:
    """An Asterisk of this major version: from the cache, or fetched into it first.

    Raises AsteriskUnavailable where there is none to be had.
    """
    chosen = os.environ.get(INSTALLED_VARIABLE)
    if chosen:
        return installed(Path(chosen))
    if version not in _SUITES:
        known = ", ".join(map(str, VERSIONS))
        raise AsteriskUnavailable(f"Asterisk {version} cannot be fetched; these can: {known}")

    def build(part: Path, root: Path) -> None:
        started = time.monotonic()
        packages = debian.download(part, debian.mirror(), _SUITES[version], say)
        say(f"unpacking {len(packages)} packages")
        debian.unpack(packages, root)
        got = unpacked(root)
        say(f"Asterisk {got.version} is in the cache ({time.monotonic() - started:.0f} s)")

    return unpacked(cached(f"asterisk-{version}", build))


def cached(name: str, build: Callable[[Path, Path], None]) -> Path:
    """A tree of that name from the cache. Raises AsteriskUnavailable.

    If it is not there, *build* makes it beside its place, with a folder for what it needs, and it is
    moved there whole, so that half a tree is never used.
    """
    # The 1 is raised when what is fetched or left out changes, so that older trees are not used.
    tree = cache_folder() / f"{name}-{platform.machine()}-1"
    if tree.exists():
        return tree
    try:
        tree.parent.mkdir(parents=True, exist_ok=True)
        with tree.with_name(f"{tree.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Under the lock, any other folder of this name is what a killed fetch left.
            for leftover in tree.parent.glob(f"{tree.name}.part-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            if not tree.exists():
                with tempfile.TemporaryDirectory(
                    prefix=f"{tree.name}.part-", dir=tree.parent, ignore_cleanup_errors=True
                ) as part:
                    build(Path(part) / "apt", Path(part) / "root")
                    os.rename(Path(part) / "root", tree)
    except (PermissionError, NotADirectoryError) as error:
        raise AsteriskUnavailable(
            f"{error.filename} is not writable: set DIALPLAN_SMS_CACHE to a folder that is"
        ) from error
    return tree


def cache_folder() -> Path:
    """Where fetched trees are kept."""
    chosen = os.environ.get("DIALPLAN_SMS_CACHE")
    if chosen:
        return Path(chosen).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "dialplan-sms"
