"""Kannel, nginx, wrk and strace: Debian's packages, unpacked without root, with all that they load."""

from dataclasses import dataclass
from pathlib import Path

from tests.asterisk import debian
from tests.asterisk.fetch import cached
from tests.asterisk.installation import libraries


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

    def build(part: Path, root: Path) -> None:
        names = ("kannel", "nginx", "wrk", "strace")
        packages = debian.with_dependencies(part, debian.mirror(), "bookworm", names, say)
        debian.unpack(packages, root)
        (root / "packages").write_text("\n".join(each.name for each in packages))

    tree = cached("tools", build)
    names = (tree / "packages").read_text().split()
    return Tools(tree, next(name.split("_")[1] for name in names if name.startswith("kannel_")))
