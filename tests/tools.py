"""Kannel, nginx, wrk and strace: Debian's packages, unpacked without root, with all that they load."""

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.asterisk import debian
from tests.asterisk.fetch import cache_folder
from tests.asterisk.installation import libraries

_SUITE = "bookworm"
_PACKAGES = ("kannel", "nginx", "wrk", "strace")


@dataclass(frozen=True)
class Tools:
    """Where they lie; Kannel's version as Debian gives it."""

    root: Path
    kannel: str

    def command(self, program: str) -> list[str]:
        """Runs *program*, such as ``usr/bin/wrk``, by the tree's own loader and libraries."""
        return [*libraries(self.root), str(self.root / program)]


def obtain(say: debian.Say = print) -> Tools:
    """From the cache, or fetched into it first. Raises AsteriskUnavailable."""
    tree = cache_folder() / f"relay-{platform.machine()}-2"
    if not tree.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="relay.part-", dir=tree.parent) as part:
            packages = debian.with_dependencies(
                Path(part) / "apt", debian.mirror(), _SUITE, _PACKAGES, say
            )
            debian.unpack(packages, Path(part) / "root")
            (Path(part) / "root/packages").write_text("\n".join(each.name for each in packages))
            shutil.rmtree(tree, ignore_errors=True)
            os.rename(Path(part) / "root", tree)
    names = (tree / "packages").read_text().split()
    return Tools(tree, next(name.split("_")[1] for name in names if name.startswith("kannel_")))
