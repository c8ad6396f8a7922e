"""How the page writes what it shows: templates, and the text of strangers made harmless."""

import hashlib
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from dialplan_sms.outbox.amend import RETRIED
from dialplan_sms.outbox.schema import State
from dialplan_sms.web.page import chart

_HERE = Path(__file__).parent
STATES = {
    State.PENDING: "waits until it is due, or for its next try",
    State.LEASED: "a worker has it; nothing has gone out yet",
    State.SENDING: "the request to the PBX is going out now",
    State.SENT: "the PBX took it",
    State.FAILED: "the PBX refuses it, or some of its numbers",
    State.EXPIRED: "it could not be sent within max_age",
    State.CANCELLED: "taken back before it was sent",
    State.UNKNOWN: "the PBX did not say: it may have been sent",
}
"""What each state means, in the order in which an SMS goes through them."""

_JOINERS = "\u200c\u200d"
"""Letters and emoji need them."""
_NAMED = {
    0x200E: "LRM", 0x200F: "RLM", 0x061C: "ALM", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x202D: "LRO", 0x202E: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
    0x00AD: "SHY", 0x200B: "ZWSP", 0x2028: "LSEP", 0x2029: "PSEP", 0xFEFF: "BOM",
}  # fmt: skip


def visible(text: object) -> Markup:
    """*text* escaped, with a mark for each character that is not seen; newlines stay."""
    plain, parts = "", []
    for char in str(text):
        if char == "\n" or char.isprintable() or char in _JOINERS or _is_new(char):
            plain += char
            continue
        parts += [escape(plain), _mark(char)]
        plain = ""
    return Markup("").join([*parts, escape(plain)])


def _is_new(char: str) -> bool:
    """Whether it may be an emoji that Python does not know yet."""
    return 0x1F000 <= ord(char) < 0x20000 and unicodedata.category(char) == "Cn"


def _mark(char: str) -> Markup:
    code = ord(char)
    if unicodedata.category(char) == "Zs":
        return Markup(" ")
    if code < 0x20:
        name = chr(0x2400 + code)
    else:
        name = "␡" if code == 0x7F else _NAMED.get(code, f"U+{code:04X}")
    return Markup('<span class="mark" title="U+{:04X}">{}</span>').format(code, name)


def foreign(text: object) -> Markup:
    """What a stranger wrote: visible, and unable to turn round what stands beside it."""
    return Markup('<bdi dir="auto">{}</bdi>').format(visible(text))


def when(at: float | None, short: bool = False) -> Markup:
    """A time, local; its zone is in the attributes. *short* leaves this year out."""
    try:
        local = datetime.fromtimestamp(at).astimezone() if at is not None else None
    except (OverflowError, ValueError, OSError, TypeError):
        local = None
    if local is None:
        return Markup("–")
    form = "%d %b %H:%M:%S" if short and local.year == datetime.now().year else "%Y-%m-%d %H:%M:%S"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        local.isoformat(timespec="seconds"), f"{local:%A %d %B %Y, %H:%M:%S %Z (UTC%z)}",
        f"{local:{form}}",
    )  # fmt: skip


class View:
    """The templates, and the files beside them; *home* is put before every path."""

    def __init__(self, home: str) -> None:
        folder = _HERE / "static"
        self.files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
        self.tags = {
            name: hashlib.blake2b(content, digest_size=8).hexdigest()
            for name, content in self.files.items()
        }
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "visible": visible, "foreign": foreign, "when": when, "hours": chart.hours,
            "clock": chart.clock,
        }  # fmt: skip
        self._environment.globals |= {
            "home": home, "states": STATES, "retried": RETRIED, "share": chart.share,
            "tags": self.tags, "zone": _zone, "live": False,
        }  # fmt: skip
        for name in self._environment.list_templates():  # an update may replace them
            self._environment.get_template(name)

    def render(self, name: str, **values: Any) -> bytes:
        """A page."""
        html = self._environment.get_template(name).render(**values)
        return html.encode("utf-8", errors="replace")


def _zone() -> str:
    return f"{datetime.now().astimezone():%Z}"
