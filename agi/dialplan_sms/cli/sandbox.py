"""``dialplan-sms sandbox``: a stand-in PBX, and what it shows of each request."""

import json
import os
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import click
from rich.padding import Padding
from rich.text import Text

from dialplan_sms.cli.main import Value, interruptible
from dialplan_sms.config import values
from dialplan_sms.host.address import is_loopback
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.sandbox.faults import Fault, Faults, Trouble, magic_number, parse_fault
from dialplan_sms.sandbox.pbx import GATEWAYS, PACE, USERS, WMS, Message, Pbx, Served, wms_version
from dialplan_sms.sms import api

_USER = ":".join(*USERS.items())
_KEPT = "\n\u200c\u200d"
"""Not printable by themselves; scripts and emoji are put together with the last two."""
MAX_SHOWN = 2000
"""Characters of a line: a text refused for its length may have a million."""


_FAULTS = "\n".join(f"{fault:<13} {magic_number(fault)}  {fault.meaning}" for fault in Fault)
_EPILOG = (
    f"\b\nFaults, and the numbers that bring them about:\n{_FAULTS}\n\n"
    "By option or by number a fault takes no message. taken-NAME, or a number in "
    f"+999000001NN ({magic_number(Fault.HANG, taken=True)}: taken-hang), takes it and loses the"
    " answer. +999 is reserved: no phone has such a number. --fault hang:2 --fault 500:1 makes"
    " two requests hang, fails the third with status 500, and then all goes well."
)


def _user(text: str) -> tuple[str, str]:
    name, _, password = text.partition(":")
    if not (name and password):
        # The value is not repeated: it may be a password.
        raise ValueError(f"give NAME:PASSWORD, such as {_USER}")
    return name, password


def _append(context: click.Context, _: click.Parameter, path: str | None) -> IO[str] | None:
    """The file at *path*, open until the command ends."""
    if path is None:
        return None
    opener = partial(os.open, mode=0o600)  # texts of people are for its owner alone
    return context.with_resource(open(path, "a", encoding="ascii", opener=opener))


@click.command(
    short_help="Run a stand-in PBX that sends nothing.",
    epilog=_EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True,
    },
)  # fmt: skip
@click.option(
    "--listen", default="127.0.0.1:8443", metavar="HOST:PORT", help="Port 0 is any that is free."
)
@click.option("--tls/--no-tls", default=True, help="HTTPS or HTTP.")
@click.option(
    "--certificate-file", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the certificate here, for verify = FILE. [default: a temporary file]",
)  # fmt: skip
@click.option(
    "--user", "users", default=[_USER], multiple=True, type=Value("NAME:PASSWORD", _user),
    help="Who may send; repeatable. Others can read it in the process list: take no real one.",
)  # fmt: skip
@click.option("--token", "tokens", multiple=True, help="A bearer token that may send; repeatable.")
@click.option(
    "--gateway", "gateways", default=GATEWAYS, multiple=True,
    type=Value("MAC", values.gsm, f"{{!r}} is not a MAC address such as {GATEWAYS[0]}"),
    help="A GSM gateway; repeatable.",
)  # fmt: skip
@click.option(
    "--pace", default=f"{PACE:.0f}s",
    type=Value("TIME", values.duration, "{!r} is no time such as 5s, or 0 for none"),
    help="What a gateway takes for each SMS, 0 for nothing.",
)  # fmt: skip
@click.option(
    "--wms", default=WMS, type=Value("VERSION", lambda text: wms_version(text) and text),
    help="The PBX's version. Before the default: 300 characters, and quotes and slashes stay.",
)  # fmt: skip
@click.option(
    "--fault", "faults", multiple=True, type=Value("NAME[:N]", parse_fault),
    help="Make every request, or the first N, go wrong; repeatable, one after the other.",
)  # fmt: skip
@click.option(
    "--record", "record_file", metavar="FILE", callback=_append,
    help="Append each message taken to this file, a line of JSON each.",
)  # fmt: skip
def sandbox(
    users: list[tuple[str, str]], faults: list[tuple[Trouble, int | None]],
    record_file: IO[str] | None, **settings: Any,
) -> None:  # fmt: skip
    """Run a stand-in PBX: it answers as the SMS API does, shows each message, and sends nothing."""
    from dialplan_sms.outbox.database import OutboxError  # what needs packages is not for --help
    from dialplan_sms.sandbox.server import Sandbox
    from dialplan_sms.web.server import ListenError

    if settings["certificate_file"] and not settings["tls"]:
        raise click.UsageError("--certificate-file is for HTTPS, --no-tls is HTTP: leave one out")
    news: SimpleQueue[Served | str | None] = SimpleQueue()

    def watch(served: Served) -> None:
        if record_file is not None and served.message is not None:
            try:
                print(record(served.message), end="", file=record_file, flush=True)
            except OSError as error:
                news.put(f"not recorded: {error.strerror}")
        news.put(served)

    try:
        server = Sandbox(
            users=dict(users), faults=Faults(faults), watch=watch, note=news.put, spool=True,
            keep=0,  # each is shown, and that is it
            keep_certificate=True, **settings,
        )  # fmt: skip
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--listen'") from None
    if not is_loopback(server.address.host):
        click.echo(
            f"Warning: {server.address} is not the loopback address: whoever reaches it can read "
            "every text on the page, which asks for no password. Nothing is sent.",
            err=True,
        )
    with closing(server), interruptible(lambda: news.put(None)):
        try:
            server.start()
        except (ListenError, OutboxError) as error:
            raise click.ClickException(str(error)) from error
        console = Console()
        verify = server.fingerprint if server.tls else ""
        console.print(_welcome(server.url, server.pbx, verify), soft_wrap=True)
        while (item := news.get()) is not None:
            if isinstance(item, Served):
                show(console, item)
            else:
                click.echo(f"Warning: {plain(item)}", err=True)


def _welcome(url: str, pbx: Pbx, fingerprint: str) -> Text:
    """Where it listens, and a sender for sms.conf; only the well-known password is shown."""
    name, password = next(iter(pbx.users.items()))
    verify = f"verify = {fingerprint}\n" if fingerprint else ""
    gsm = [f"gsm = {mac}\n" for mac in pbx.gateways]  # what a relay on this host needs
    return Text.assemble(
        ("Listening on ", "dim"),
        (url, "bold"),
        ("  (Ctrl-C ends it; nothing is sent)\n", "dim"),
        ("Page: ", "dim"),
        f"{url}/\n\n[{name}]\nurl = {url}\n",
        f"password = {password if pbx.users == USERS else '…'}\n{verify}",
        *gsm[:1],
    )


def visible(text: str) -> str:
    """*text* and its newlines; what moves, colours or hides becomes ``\\x1b`` or ``\\u202e``."""
    shown = "".join(char if char in _KEPT else plain(char) for char in text[:MAX_SHOWN])
    return shown if len(text) <= MAX_SHOWN else f"{shown}…"


def show(console: Console, served: Served) -> None:
    """Print one request: when, who, to whom, what came of it; and the text that was taken."""
    request, message, reply = served.request, served.message, served.reply
    numbers = message.numbers if message else (request.form.get("number", "") or "nobody",)
    postpone = message.postpone if message else None
    is_fine = reply["type"] == api.RESULT
    colour = "yellow" if reply["type"] == api.WARNING else "red"
    said = () if is_fine else (reply["type"], reply["reason"], ", ".join(reply["result"] or ()))
    line = Text.assemble(
        (f"{request.received_at.astimezone():%H:%M:%S}  ", "dim"),
        (visible(request.user or "?"), "bold"),
        " → ",
        (_one_line(", ".join(numbers)), "cyan"),
        f"  via {message.gsm}" if message else "",
        f"  on {postpone:{api.POSTPONE_FORMAT}}" if postpone else "",
        (f"  fault {served.trouble}" if served.trouble else "", "magenta"),
        (f"  {_one_line(' '.join(said))}" if said else "", colour),
    )
    console.print(line, soft_wrap=True)
    if message:
        # Indented, wrapped lines too: no text can pass for a line of ours.
        text = Text(visible(message.text), overflow="fold")
        console.print(Padding(text, (0, 0, 0, 10), expand=False))


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n").strip()


def record(message: Message) -> str:
    """*message* as one line of JSON, in ASCII, so that no text moves a terminal's cursor."""
    fields = asdict(message) | {
        "received_at": message.received_at.isoformat(timespec="milliseconds"),
        "postpone": message.postpone and message.postpone.isoformat(timespec="minutes"),
    }
    return json.dumps(fields) + "\n"
