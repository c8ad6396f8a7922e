"""How the options of ``dialplan-sms sandbox`` are read."""

import os
from typing import IO

import click

from dialplan_sms.config import values
from dialplan_sms.sandbox.faults import Trouble, parse_fault
from dialplan_sms.sandbox.pbx import GATEWAYS, USERS, wms_version
from dialplan_sms.web.http.listener import Address, parse_address

USER = ":".join(*USERS.items())


def users(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in given:
        name, colon, password = value.partition(":")
        if not (name and colon and password):
            # The value is not repeated: it may be a password.
            raise click.BadParameter(f"give NAME:PASSWORD, such as {USER}")
        found[name] = password
    return found


def gateways(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for value in given:
        try:
            found.append(values.gsm(value))
        except values.Bad:
            raise click.BadParameter(
                f"{value!r} is not a MAC address such as {GATEWAYS[0]}"
            ) from None
    return tuple(found)


def faults(
    _: click.Context, __: click.Parameter, given: tuple[str, ...]
) -> list[tuple[Trouble, int | None]]:
    try:
        return [parse_fault(value) for value in given]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def append(context: click.Context, _: click.Parameter, path: str | None) -> IO[str] | None:
    if path is None:
        return None
    try:
        # Texts of people are for its owner alone.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from error
    return context.with_resource(open(descriptor, "a", encoding="ascii"))


def wms(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        wms_version(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


def address(_: click.Context, __: click.Parameter, value: str) -> Address:
    try:
        return parse_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def pace(_: click.Context, __: click.Parameter, value: str) -> float:
    try:
        return values.duration(value)
    except values.Bad as error:
        raise click.BadParameter(f"{value!r} is no time such as 5s, or 0 for none") from error
