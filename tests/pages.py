"""README.md and docs/, with what stands in them: blocks, tables, headings.

The word after a block's language tells what it is: ``extensions.conf`` and ``sms.conf`` are whole
files, ``old`` and ``new`` are the CURL() recipe and what replaces it.
"""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(TOP)): path.read_text(encoding="utf-8")
    for path in (TOP / "README.md", *sorted(TOP.glob("docs/*.md")))
}
README = PAGES["README.md"]


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    where: str
    text: str

    @property
    def extensions(self) -> list[tuple[str, str]]:
        """Context and number of the extensions that can be called."""
        context, found = "", []
        for line in self.text.splitlines():
            if header := re.fullmatch(r"\[(.+)\]", line):
                context = header[1]
            if extension := re.match(r"exten => ([0-9]+),1,", line):
                found.append((context, extension[1]))
        return found


def blocks(kind: str, pages: Iterable[str] = PAGES) -> list[Block]:
    """All blocks of that kind (what follows the back quotes), in the order of the pages."""
    found = []
    fenced = re.compile(rf"^( *)```{re.escape(kind)}\n((?:.*\n)*?)\1```$", re.MULTILINE)
    for name in pages:
        for block in fenced.finditer(PAGES[name]):
            line = PAGES[name].count("\n", 0, block.start()) + 1
            found.append(Block(f"{name}:{line}", textwrap.dedent(block[2])))
    return found


def shell_lines(*pages: str) -> list[str]:
    """The lines of the shell blocks, of all pages if none is named."""
    return [
        line.strip() for block in blocks("sh", pages or PAGES) for line in block.text.splitlines()
    ]


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of every table of the page whose first column is called *header*."""
    found: list[list[str]] = []
    inside = False
    for line in PAGES[page].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif inside and cells[0] != "---":
            found.append(cells)
        inside = inside or (line.startswith("|") and cells[0] == header)
    return found


def code(cell: str) -> str:
    """What a cell begins with in back quotes; empty if it has none."""
    found = re.match(r"`([^`]+)`", cell)
    return found[1] if found else ""


def prose(text: str) -> str:
    """A page without its blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Those of a page's headings, as GitHub makes them of one that has no link and no double."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
