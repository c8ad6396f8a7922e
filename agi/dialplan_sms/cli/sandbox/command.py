"""The command ``dialplan-sms sandbox``."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click
from rich.text import Text

from dialplan_sms.cli.interrupt import interruptible
from dialplan_sms.cli.sandbox.screen import record, show
from dialplan_sms.config import values
from dialplan_sms.host.address import is_loopback
from dialplan_sms.host.console import Console
from dialplan_sms.host.terminal import plain
from dialplan_sms.sandbox.faults import Fault, Faults, Trouble, magic_number, parse_fault
from dialplan_sms.sandbox.pbx import GATEWAYS, PACE, USERS, WMS, Served, wms_version
from dialplan_sms.web.http.listener import Address, ListenError, parse_address

if TYPE_CHECKING:
    from dialplan_sms.sandbox.server import Sandbox

LISTEN = "127.0.0.1:8443"
_USER = ":".join(*USERS.items())
T = TypeVar("T")


def _epilog() -> str:
    rows = [f"{fault:<13} {magic_number(fault)}  {fault.meaning}" for fault in Fault]
    listing = "\n".join(["\b", "Faults, and the numbers that bring them about:", *rows])
    taken = magic_number(Fault.HANG, taken=True)
    return (
        f"{listing}\n\nBy option or by number a fault takes no message. taken-NAME, or a number in "
        f"+999000001NN ({taken}: taken-hang), takes it and loses the answer. +999 is reserved: no "
        "phone has such a number. --fault hang:2 --fault 500:1 makes two requests hang, fails the "
        "third with status 500, and then all goes well."
    )


def _read_by(read: Callable[[str], Any]) -> Callable[..., Any]:
    """A callback that has *read* read each value; its ValueError says what is wrong."""

    def callback(_: click.Context, option: click.Parameter, given: Any) -> Any:
        try:
            return [read(value) for value in given] if option.multiple else read(given)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _setting(read: Callable[[str], T], needs: str) -> Callable[[str], T]:
    """Reads a value as sms.conf has it; *needs* says what it must be."""

    def read_setting(text: str) -> T:
        try:
            return read(text)
        except values.Bad:
            raise ValueError(f"{text!r} is {needs}") from None

    return read_setting


_duration = _setting(values.duration, "no time such as 5s, or 0 for none")
_gateway = _setting(values.gsm, f"not a MAC address such as {GATEWAYS[0]}")


def _user(text: str) -> tuple[str, str]:
    """The name and the password in ``NAME:PASSWORD``."""
    name, _, password = text.partition(":")
    if not (name and password):
        # The value is not repeated: it may be a password.
        raise ValueError(f"give NAME:PASSWORD, such as {_USER}")
    return name, password


def _version(text: str) -> str:
    """*text* if it is a version of the PBX."""
    wms_version(text)
    return text


def _append(context: click.Context, _: click.Parameter, path: str | None) -> IO[str] | None:
    """The file at *path*, open until the command ends."""
    if path is None:
        return None
    # Texts of people are for its owner alone.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return context.with_resource(open(descriptor, "a", encoding="ascii"))


@click.command(
    short_help="Run a stand-in PBX that sends nothing.",
    epilog=_epilog(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=LISTEN,
    show_default=True,
    callback=_read_by(parse_address),
    help="Port 0 is any that is free.",
)
@click.option("--tls/--no-tls", default=True, show_default=True, help="HTTPS or HTTP.")
@click.option(
    "--certificate-file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the certificate here, for verify = FILE. [default: a temporary file]",
)
@click.option(
    "--user",
    "users",
    metavar="NAME:PASSWORD",
    multiple=True,
    default=[_USER],
    show_default=True,
    callback=_read_by(_user),
    help="Who may send; repeatable. Others can read it in the process list: take no real one.",
)
@click.option("--token", "tokens", multiple=True, help="A bearer token that may send; repeatable.")
@click.option(
    "--gateway",
    "gateways",
    metavar="MAC",
    multiple=True,
    default=GATEWAYS,
    show_default=True,
    callback=_read_by(_gateway),
    help="A GSM gateway; repeatable.",
)
@click.option(
    "--pace",
    metavar="TIME",
    default=f"{PACE:.0f}s",
    show_default=True,
    callback=_read_by(_duration),
    help="What a gateway takes for each SMS, 0 for nothing.",
)
@click.option(
    "--wms",
    metavar="VERSION",
    default=WMS,
    show_default=True,
    callback=_read_by(_version),
    help="The PBX's version. Before the default: 300 characters, and quotes and slashes stay.",
)
@click.option(
    "--fault",
    "faults",
    metavar="NAME[:N]",
    multiple=True,
    callback=_read_by(parse_fault),
    help="Make every request, or the first N, go wrong; repeatable, one after the other.",
)
@click.option(
    "--record",
    "record_file",
    metavar="FILE",
    callback=_append,
    help="Append each message taken to this file, a line of JSON each.",
)
def sandbox(
    listen: Address,
    tls: bool,
    certificate_file: Path | None,
    users: list[tuple[str, str]],
    tokens: tuple[str, ...],
    gateways: list[str],
    pace: float,
    wms: str,
    faults: list[tuple[Trouble, int | None]],
    record_file: IO[str] | None,
) -> None:
    """Run a stand-in PBX: it answers as the SMS API does, shows each message, and sends nothing."""
    from dialplan_sms.outbox.database import OutboxError  # what needs packages is not for --help
    from dialplan_sms.sandbox.server import Sandbox

    news: SimpleQueue[Served | str | None] = SimpleQueue()

    def watch(served: Served) -> None:
        if record_file is not None and served.message is not None:
            try:
                record_file.write(record(served.message))
                record_file.flush()
            except OSError as error:
                news.put(f"not recorded: {error.strerror}")
        news.put(served)

    if not is_loopback(listen.host):
        click.echo(
            f"Warning: {listen} is not the loopback address: whoever reaches it can read every "
            "text on the page, which asks for no password. Nothing is sent.",
            err=True,
        )
    server = Sandbox(
        tls=tls,
        users=dict(users),
        gateways=gateways,
        wms=wms,
        tokens=tokens,
        listen=str(listen),
        certificate_file=certificate_file,
        faults=Faults(faults),
        watch=watch,
        keep=0,  # each is shown, and that is it
        spool=True,
        pace=pace,
        note=news.put,
    )
    with closing(server), interruptible(lambda: news.put(None)):
        try:
            server.start()
        except (ListenError, OutboxError) as error:
            raise click.ClickException(str(error)) from error
        console = Console()
        console.print(_welcome(server), soft_wrap=True)
        while (item := news.get()) is not None:
            if isinstance(item, Served):
                show(console, item)
            else:
                click.echo(f"Warning: {plain(item)}", err=True)


def _welcome(server: "Sandbox") -> Text:
    """Where it listens, and a sender for sms.conf; only the well-known password is shown."""
    users, gateways, url = server.pbx.users, server.pbx.gateways, server.url
    name = next(iter(users))
    password = users[name] if users == USERS else "…"
    verify = f"verify = {server.fingerprint}\n" if server.tls else ""
    gsm = f"gsm = {gateways[0]}\n" if gateways else ""  # what a relay on this host needs
    return Text.assemble(
        ("Listening on ", "dim"),
        (url, "bold"),
        ("  (Ctrl-C ends it; nothing is sent)\n", "dim"),
        ("Page: ", "dim"),
        f"{url}/\n\n",
        f"[{name}]\nurl = {url}\npassword = {password}\n{verify}{gsm}",
    )
