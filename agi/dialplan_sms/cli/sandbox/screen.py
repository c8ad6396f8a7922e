"""What the sandbox shows of each request, on a terminal or in a file."""

import json
from dataclasses import asdict

from rich.padding import Padding
from rich.text import Text

from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.sandbox.pbx import Message, Served
from dialplan_sms.sms import api

_JOINERS = "\u200c\u200d"
"""Not printable by themselves, but what scripts and emoji are put together with."""

MAX_SHOWN = 2000
"""Characters of a line: a text refused for its length may have a million."""


def visible(text: str) -> str:
    """*text* without anything that would move the cursor, colour, reorder or hide what follows.

    Newlines stay; other control and format characters are written as ``\\x1b`` or ``\\u202e``.
    """
    kept = f"\n{_JOINERS}"
    shown = "".join(char if char in kept else plain(char) for char in text[:MAX_SHOWN])
    return shown if len(text) <= MAX_SHOWN else f"{shown}…"


def show(console: Console, served: Served) -> None:
    """Print one request: when, who, to whom, what came of it; and the text that was taken."""
    request, message, reply = served.request, served.message, served.reply
    line = Text(f"{request.received_at.astimezone():%H:%M:%S}  ", style="dim")
    line.append(visible(request.user or "?"), style="bold not dim")
    line.append(" → ", style="not dim")
    numbers = message.numbers if message else (request.form.get("number", "") or "nobody",)
    line.append(_one_line(", ".join(numbers)), style="cyan not dim")
    if message:
        line.append(f"  via {message.gsm}", style="not dim")
        if message.postpone:
            line.append(f"  on {message.postpone:{api.POSTPONE_FORMAT}}", style="not dim")
    if served.trouble:
        line.append(f"  fault {served.trouble}", style="magenta not dim")
    if reply["type"] != api.RESULT:
        style = "yellow not dim" if reply["type"] == api.WARNING else "red not dim"
        names = ", ".join(reply["result"] or ())
        line.append(f"  {_one_line(' '.join((reply['type'], reply['reason'], names)))}", style)
    console.print(line, soft_wrap=True)
    if message:
        # Indented, wrapped lines too: no text can pass for a line of ours.
        console.print(
            Padding(Text(visible(message.text), overflow="fold"), (0, 0, 0, 10), expand=False)
        )


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n").strip()


def record(message: Message) -> str:
    """*message* as one line of JSON, in ASCII, so that no text moves a terminal's cursor."""
    fields = asdict(message) | {
        "received_at": message.received_at.isoformat(timespec="milliseconds"),
        "postpone": message.postpone and message.postpone.isoformat(timespec="minutes"),
    }
    return json.dumps(fields) + "\n"
