"""``dialplan-sms send``: one SMS from the shell, or a list."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from dialplan_sms.cli.main import config_option
from dialplan_sms.config import config as smsconf
from dialplan_sms.sms.outcome import Cause, Refused, safe_line
from dialplan_sms.sms.sms import Draft


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
    number, gsm, postpone, sender, key = (  # which may have bytes that are no UTF-8
        given.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for given in (number or "", gsm, postpone, sender, key)
    )
    draft = Draft(number, "", gsm, postpone, sender, mode or "", call="send", key=key)
    try:
        if file is not None:
            from dialplan_sms.cli.send.list import send_list

            raise SystemExit(send_list(
                replace(draft, bulk=True), smsconf.load(config), _text, file, journal,
                changed=changed, retry_unknown=retry_unknown, as_json=as_json, dry_run=dry_run,
            ))  # fmt: skip
        from dialplan_sms.cli.send.single import send_one, show_one

        message = _text()
        none = "no text to send: it comes from standard input"
        refused = None if message.strip() else Refused(Cause.INVALID_MESSAGE, none)
        draft = replace(draft, message=message, refused=refused)
        if not dry_run:
            raise SystemExit(send_one(draft, config, as_json))
        show_one(draft, smsconf.load(config), as_json)
    except Refused as refused:
        raise click.ClickException(safe_line(str(refused))) from None


def _text() -> str:
    if sys.stdin is None:
        raise click.ClickException("the text of the SMS comes from standard input, which is closed")
    if sys.stdin.isatty():
        click.echo("Text of the SMS; end it with Ctrl-D on a line of its own:", err=True)
    # The shell's own newline at the end is no part of the text.
    return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")
