"""How the options of ``dialplan-sms sandbox`` are read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from dialplan_sms.config import values
from dialplan_sms.config.parser import Place
from dialplan_sms.sandbox.pbx import GATEWAYS, USERS, wms_version

T = TypeVar("T")
USER = ":".join(*USERS.items())


def read_by(read: Callable[[str], Any]) -> Callable[..., Any]:
    """A callback that has *read* read each value; its ValueError says what is wrong."""

    def callback(_: click.Context, option: click.Parameter, given: Any) -> Any:
        try:
            return [read(value) for value in given] if option.multiple else read(given)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def setting(read: Callable[[str, Place], T], needs: str) -> Callable[[str], T]:
    """Reads a value as sms.conf has it; *needs* says what it must be."""

    def read_setting(text: str) -> T:
        try:
            return read(text, Place(Path("the command line"), 1))
        except values.Bad:
            raise ValueError(f"{text!r} is {needs}") from None

    return read_setting


duration = setting(values.duration, "no time such as 5s, or 0 for none")
gateway = setting(values.gsm, f"not a MAC address such as {GATEWAYS[0]}")


def user(text: str) -> tuple[str, str]:
    """The name and the password in ``NAME:PASSWORD``."""
    name, _, password = text.partition(":")
    if not (name and password):
        # The value is not repeated: it may be a password.
        raise ValueError(f"give NAME:PASSWORD, such as {USER}")
    return name, password


def version(text: str) -> str:
    """*text* if it is a version of the PBX."""
    wms_version(text)
    return text


def append(context: click.Context, _: click.Parameter, path: str | None) -> IO[str] | None:
    """The file at *path*, open until the command ends."""
    if path is None:
        return None
    try:
        # Texts of people are for its owner alone.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from error
    return context.with_resource(open(descriptor, "a", encoding="ascii"))
