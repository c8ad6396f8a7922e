"""``dialplan-sms send``: one SMS from the shell, or a list."""

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click
from rich.text import Text

from dialplan_sms.cli.main import config_option
from dialplan_sms.cli.send import view
from dialplan_sms.cli.send.list import send_list
from dialplan_sms.cli.send.run import open_service
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.host.console import Console
from dialplan_sms.routes.pbx import SmsApi
from dialplan_sms.sms.outcome import Cause, Refused, Status, safe_line
from dialplan_sms.sms.parts import parts
from dialplan_sms.sms.service import check, choose
from dialplan_sms.sms.sms import Draft

_COLOUR = {Status.SUCCESS: "green", Status.QUEUED: "green", Status.WARNING: "yellow"}


@click.command(short_help="Send one SMS or one to each row of a list.")
@click.argument("number", required=False)
@click.argument("misplaced", nargs=-1, metavar="")
@config_option
@click.option("--sender", default="", help="Section of sms.conf; default: default_sender.")
@click.option("--gsm", default="", help="MAC address of the gateway.")
@click.option("--postpone", default="", help="When to send: '14/07/2014 15:35'.")
@click.option(
    "--mode",
    type=click.Choice(["wait", "queue", "fallback"]),
    help="Send now, store, or store only if the PBX is out of reach; default: the sender's.",
)
@click.option("--key", default="", help="A second SMS with the same key is not sent.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent; send nothing.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; of a list a line for each row.")
@click.option(
    "--list",
    "file",
    type=click.Path(),
    metavar="FILE",
    help="A list: CSV with a column number; - is a pipe.",
)
@click.option("--to-file", "file", hidden=True)  # its name in 0.1
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    help="Of a list: what has been sent; default: FILE.journal.",
)
@click.option("--retry-unknown", is_flag=True, help="Of a list: also what may have been sent.")
@click.option("--changed", is_flag=True, help="Of a list that has changed: what is new in it.")
def send(
    number: str | None,
    misplaced: tuple[str, ...],
    config: Path,
    sender: str,
    gsm: str,
    postpone: str,
    mode: str | None,
    key: str,
    dry_run: bool,
    as_json: bool,
    file: str | None,
    journal: Path | None,
    retry_unknown: bool,
    changed: bool,
) -> None:
    """Send one SMS to NUMBER (or several, comma-separated), or one to each row of a list.

    The text comes from standard input, since arguments show in the list of processes:

        echo "Back at 15:00" | dialplan-sms send +39333123456

    In the text for a list, {name} is what the row has in the column name, and {{ is a brace:

        echo "Dear {name}, hello" | dialplan-sms send --list list.csv

    A list may be interrupted (Ctrl-C): the same command goes on, and sends none of it twice.

    Exit status: 0 sent or stored, 1 not sent or not to all, 2 wrong usage, 130 interrupted.
    """
    is_list = file is not None
    misuse = {
        "one argument only: several numbers are comma-separated, and the text comes from standard"
        ' input: echo "Hello" | dialplan-sms send NUMBER,NUMBER': misplaced,
        "Missing argument 'NUMBER', or --list FILE.": not number and not is_list,
        "NUMBER or --list, not both": number and is_list,
        "each SMS of a list has a key of its own: no --key": key and is_list,
        "--journal, --retry-unknown and --changed go with --list": not is_list
        and (journal or retry_unknown or changed),
    }
    for message, is_so in misuse.items():
        if is_so:
            raise click.UsageError(message)
    number, gsm, postpone, sender, key = map(_utf8, (number or "", gsm, postpone, sender, key))
    draft = Draft(number, "", gsm, postpone, sender, mode or "", call="send", key=key)
    try:
        if file is not None:
            raise SystemExit(
                send_list(
                    replace(draft, bulk=True), smsconf.load(config), _text, file, journal,
                    changed=changed, retry_unknown=retry_unknown, as_json=as_json, dry_run=dry_run,
                )
            )  # fmt: skip
        draft = replace(draft, message=_text())
        if not draft.message.strip():
            none = "no text to send: it comes from standard input"
            draft = replace(draft, refused=Refused(Cause.INVALID_MESSAGE, none))
        if not dry_run:
            raise SystemExit(send_one(draft, config, as_json))
        show_one(draft, smsconf.load(config), as_json)
    except Refused as refused:
        raise click.ClickException(safe_line(str(refused))) from None


def _utf8(text: str) -> str:
    """*text* without the surrogates by which Python marks bytes that are no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text() -> str:
    if sys.stdin is None:
        raise click.ClickException("the text of the SMS comes from standard input, which is closed")
    if sys.stdin.isatty():
        click.echo("Text of the SMS; end it with Ctrl-D on a line of its own:", err=True)
    # The shell's own newline at the end is no part of the text.
    return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")


def send_one(draft: Draft, path: Path, as_json: bool) -> int:
    """Send *draft* by the sms.conf in *path*; the exit status."""

    def load() -> Config:
        config = smsconf.load(path)
        config.drop_privileges()
        return config

    with open_service(load) as service:
        handled = service.handle(draft)
        service.log(handled)
    of = handled.outcome
    if as_json:
        view.say_json(
            status=of.status, cause=of.cause, reason=of.reason, failed=of.failed, id=of.id
        )
    else:
        words = [
            f" {of.cause}" if of.cause else "",
            f", id {of.id}" if of.id else "",
            f": {safe_line(of.reason)}" if of.reason else "",
            f" (not accepted: {', '.join(of.failed)})" if of.failed else "",
        ]
        view.say(Text.assemble((of.status, _COLOUR.get(of.status, "red")), "".join(words)))
    return int(of.status not in (Status.SUCCESS, Status.QUEUED))


def show_one(draft: Draft, config: Config, as_json: bool) -> None:
    """The dry run of *draft*. Raises Refused, and ConfigError if verify cannot be used."""
    sender = choose(config, draft)
    sms = check(draft, sender, config, datetime.now())
    SmsApi(sender)
    mode = draft.mode or sender.mode
    if as_json:
        view.say_json(sender=sender.name, numbers=sms.numbers, mode=mode, dry_run=True,
                      **view.sms_values(sms))  # fmt: skip
        return
    cut = sms.cut_from - len(sms.text) if sms.cut_from else 0
    facts = [
        *view.sender_facts(config, sender),
        ("to", ", ".join(sms.numbers)),
        ("text", f"{len(sms.text)} characters of {sender.max_length}"),
        ("parts", str(parts(sms.text))),
        ("gateway", sms.gsm or "the PBX chooses"),
        ("mode", mode),
        ("when", f"{sms.postpone:%d/%m/%Y %H:%M}" if sms.postpone else "now"),
        ("key", draft.key),
        ("cut", f"{cut} characters (long_message = truncate)" if cut else ""),
        ("note", view.replaced(sms.replaced)),
        ("", "dry run: nothing was sent"),
    ]
    view.show_facts(Console(), facts)
