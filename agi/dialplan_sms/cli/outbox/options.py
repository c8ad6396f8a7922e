"""The options and arguments of ``dialplan-sms outbox`` and its commands."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dialplan_sms.config import values
from dialplan_sms.host.terminal import plain
from dialplan_sms.outbox.schema import State

Command = TypeVar("Command", bound=Callable[..., Any])


class Misused(click.ClickException):
    """Wrong usage that one line explains better than the usage does."""

    exit_code = 2


class Id(click.ParamType[int]):
    """The outbox's number of an SMS."""

    name = "id"

    def convert(self, value: Any, *_: Any) -> int:
        if re.fullmatch(r"[0-9]{1,19}", str(value)) and 0 < int(value) < 2**63:
            return int(value)
        raise Misused(f"{plain(str(value)[:80])} is no ID: see dialplan-sms outbox")


def seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
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


def _no_state(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> None:
    if value:
        raise Misused("cancel takes what is pending, and no --state: --all cancels all of it")


number = click.option(
    "--number", default="", callback=_digits, metavar="DIGITS", help="In one of its numbers."
)
sender = click.option("--sender", default="", help="Section of sms.conf.")
since = click.option(
    "--since", callback=seconds, metavar="TIME", help="Stored within 30s, 15m, 24h or 7d."
)
as_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")
no_state = click.option(
    "--state", multiple=True, hidden=True, expose_value=False, callback=_no_state
)


def state(*states: State) -> Callable[[Command], Command]:
    choice = click.Choice([str(each) for each in states])
    return click.option("--state", "states", multiple=True, type=choice, help="May be repeated.")
