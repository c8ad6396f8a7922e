"""Asterisk 22 and 16 without root, kept in a cache folder: `python -m tests.asterisk.fetch 22 16`.

The cache is `$DIALPLAN_SMS_CACHE`, else `$XDG_CACHE_HOME/dialplan-sms`, else
`~/.cache/dialplan-sms`. Where `$DIALPLAN_SMS_ASTERISK` names an installed asterisk, that one is
used and nothing is fetched.
"""

import fcntl
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.asterisk import debian
from tests.asterisk.installation import AsteriskUnavailable, Installation, installed, unpacked

VERSIONS = (22, 16)
INSTALLED_VARIABLE = "DIALPLAN_SMS_ASTERISK"

_SUITES = {22: "forky", 16: "bullseye"}
_RECIPE = 1  # raised when what is fetched or left out changes, so that older trees are not used


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
    cache = cache_folder()
    name = f"asterisk-{version}-{platform.machine()}-{_RECIPE}"
    tree = cache / name
    if not tree.exists():
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with _locked(cache / f"{name}.lock"):
                if not tree.exists():
                    _build(version, tree, say)
        except (PermissionError, NotADirectoryError) as error:
            raise AsteriskUnavailable(
                f"{error.filename} is not writable: set DIALPLAN_SMS_CACHE to a folder that is"
            ) from error
    return unpacked(tree)


def cache_folder() -> Path:
    """Where fetched trees are kept."""
    chosen = os.environ.get("DIALPLAN_SMS_CACHE")
    if chosen:
        return Path(chosen).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "dialplan-sms"


def _build(version: int, tree: Path, say: debian.Say) -> None:
    """Build the tree beside its place and move it there whole, so that half a tree is never used.

    Held under the lock, so that any other folder of this name is what a killed fetch left.
    """
    for leftover in tree.parent.glob(f"{tree.name}.part-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    started = time.monotonic()
    part = Path(tempfile.mkdtemp(prefix=f"{tree.name}.part-", dir=tree.parent))
    try:
        packages = debian.download(part / "apt", debian.mirror(), _SUITES[version], say)
        say(f"unpacking {len(packages)} packages")
        debian.unpack(packages, part / "root")
        got = unpacked(part / "root")
        os.rename(part / "root", tree)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    say(f"Asterisk {got.version} is in {tree} ({time.monotonic() - started:.0f} s)")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """Fetch the versions named, both at once; all of them where none is named."""
    if not all(argument.isdecimal() for argument in arguments):
        print("usage: python -m tests.asterisk.fetch [22] [16]", file=sys.stderr)
        return 2
    versions = [int(argument) for argument in arguments] or list(VERSIONS)

    def say(version: int, line: str) -> None:
        print(f"Asterisk {version}: {line}", flush=True)

    def one(version: int) -> Installation:
        return fetch(version, partial(say, version))

    try:
        with ThreadPoolExecutor() as pool:
            for got in pool.map(one, versions):
                print(f"Asterisk {got.version}: {' '.join(got.command)}")
    except AsteriskUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
