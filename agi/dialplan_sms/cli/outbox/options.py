"""The options and arguments of ``dialplan-sms outbox`` and its commands."""

import functools
import re
from collections.abc import Callable
from typing import Any

import click

from dialplan_sms.cli.main import Misused
from dialplan_sms.config import values
from dialplan_sms.outbox.history.stored import Filters
from dialplan_sms.outbox.schema import State

Command = Callable[..., Any]


def id_of_sms(value: str) -> int:
    """The outbox's number of an SMS."""
    if re.fullmatch(r"[0-9]{1,19}", value) and 0 < int(value) < 2**63:
        return int(value)
    raise Misused(f"{value[:80]} is no ID: see dialplan-sms outbox")


def seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """``15m`` as 900.0."""
    if value is None:
        return None
    try:
        if value.strip().isdigit():
            raise values.Bad  # 90 may be meant as days, and purge would delete all but 90 s
        return values.duration(value.strip())
    except values.Bad:
        raise click.BadParameter(f"{value} is no time as 30s, 15m, 24h or 7d") from None


def _digits(_: click.Context, __: click.Parameter, value: str) -> str:
    digits = re.sub(r"[ ()./+-]", "", value).removeprefix("00")
    if value and not re.fullmatch(r"[0-9*#]{1,32}", digits):
        raise click.BadParameter(f"{value} is no number, nor some digits of one")
    return digits


as_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_number = click.option(
    "--number", default="", callback=_digits, metavar="DIGITS", help="In one of its numbers."
)
_sender = click.option("--sender", default="", help="Section of sms.conf.")
_since = click.option(
    "--since", callback=seconds, metavar="TIME", help="Stored within 30s, 15m, 24h or 7d."
)


def filters(*states: State) -> Callable[[Command], Command]:
    """The options that choose SMS, --state among *states*; the command gets them as *filters*."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def filtered(
            *,
            number: str,
            sender: str,
            since: float | None,
            states: tuple[str, ...] = (),
            **rest: Any,
        ) -> Any:
            return command(filters=Filters(states, number, sender, since), **rest)

        chosen = _number(_sender(_since(filtered)))
        if not states:
            return chosen
        choice = click.Choice([str(each) for each in states])
        return click.option(
            "--state", "states", multiple=True, type=choice, help="May be repeated."
        )(chosen)

    return decorate
