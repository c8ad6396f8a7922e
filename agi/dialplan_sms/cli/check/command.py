"""``dialplan-sms check``: the command, all that it looks at, at the same time, and how it shows."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import click
from rich.text import Text

from dialplan_sms.cli.check import CheckState, Finding, asterisk, conf, outbox, pbx, service
from dialplan_sms.cli.main import config_option
from dialplan_sms.config.config import Config
from dialplan_sms.host.console import Console
from dialplan_sms.host.identity import READ, User, blocked, current, named
from dialplan_sms.host.process import PATH, Run, run
from dialplan_sms.routes.pbx import CONNECT_TIME, secrets_of

_OF_CONF = (
    conf.LOG, *pbx.LINES, outbox.DISK, outbox.OUTBOX,
    service.SERVICE, service.SOCKET, service.FASTAGI,
)  # fmt: skip
_SHOWN = {
    CheckState.OK: (0, ("✓", "ok"), "green"),
    CheckState.WARNING: (1, ("!", "! "), "yellow"),
    CheckState.WRONG: (2, ("✗", "X "), "bold red"),
    CheckState.SKIPPED: (0, ("–", "- "), "dim"),
}
"""The exit status, as a plugin of Nagios; the sign, also where the encoding has none; its style."""
Part = Callable[[], Iterable[Finding]]


class CannotCheck(click.UsageError):
    """Who runs this sees too little, or has called it wrongly; the text says what to do."""

    exit_code = 3  # as monitoring has it


class _Plugin(click.Command):
    """Wrong usage has an exit status of its own: 2 is "something is wrong"."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            raise CannotCheck(error.format_message(), error.ctx) from None


@click.command(cls=_Plugin, short_help="Find what is wrong and say what to do.")
@config_option
@click.option("--user", "name", help="Whose rights to judge, in place of Asterisk's user.")
@click.option("--json", "as_json", is_flag=True, help="The lines as JSON.")
def check(config: Path, name: str | None, as_json: bool) -> None:
    """Find what is wrong, and say what to do: files, PBX, outbox, service, Asterisk.

    No SMS is sent. What only follows from another line is not looked at. Run it as root or as
    Asterisk's user; Asterisk's folder is $AST_CONFIG_DIR or /etc/asterisk.

    Exit status: 0 all is well, 1 a warning, 2 something is wrong, 3 cannot be checked.
    """
    user = named(name) if name is not None else None
    if name is not None and user is None:
        raise CannotCheck(f"--user: there is no user {name}")
    found = without_secrets(*inspect(config.absolute(), user))
    status = exit_status(found)
    if as_json:
        lines = [
            {"name": each.name, "state": each.state.value}
            | ({"sender": each.of} if each.of else {})
            | {"says": each.says, "do": each.do}
            for each in found
        ]
        click.echo(json.dumps({"status": status, "findings": lines}, indent=2))
    elif sys.stdout is not None:  # closed: who runs this wants the exit status alone
        show(found, sys.stdout)
    raise SystemExit(status)


def inspect(
    path: Path, user: User | None = None, environ: Mapping[str, str] = os.environ, run: Run = run,
    proc: Path = Path("/proc"), connect_time: float = CONNECT_TIME,
) -> tuple[list[Finding], Config | None]:  # fmt: skip
    """What was found, causes only, and the configuration if there is one. Raises CannotCheck.

    *path* is that of sms.conf, *user* whose rights are looked at, in place of Asterisk's user.
    """
    etc = Path(environ.get("AST_CONFIG_DIR") or "/etc/asterisk").absolute()
    host = asterisk.Asterisk(etc, run, proc, environ.get("PATH") or PATH)
    unit, me = service.ask_unit(run), current()
    candidates = (
        (user, "as --user says"),
        (host.process and host.process.user, "as Asterisk runs"),
        (named(unit.get("User", "")), "as the service's unit says"),
        (named("asterisk"), "since there is that user"),
        (me, "who runs this check: --user names another"),
    )
    who, why = next((each, why) for each, why in candidates if each)
    if me.uid not in (0, who.uid) and (bar := blocked(path, READ, me)) and not bar.missing:
        raise CannotCheck(f"{bar.says}: run this as root or as {who.name}")
    line, config = conf.check(path, who)
    parts: dict[str, Part] = {
        asterisk.SCRIPT.name: lambda: asterisk.check_script(host, who, config),
        conf.CONF.name: lambda: [line],
    }
    ports = {port for _, port in config.http.listen} if config and config.http else set()
    if config is None:
        parts[""] = lambda: [replace(each, needs=(conf.CONF.name,)) for each in _OF_CONF]
    else:
        socket = Path(environ.get("DIALPLAN_SMS_SOCKET") or "/run/dialplan-sms/agi.sock")
        parts |= {
            conf.LOG.name: lambda: [conf.check_log(config, who)],
            **{f"name {one.of}": one.check for one in pbx.each(config, connect_time)},
            outbox.OUTBOX.name: lambda: outbox.check(config.outbox, who),
            service.SERVICE.name: lambda: service.check(config, unit, socket, who),
            service.HTTP.name: lambda: service.check_http(config),
        }
    parts[asterisk.ASTERISK.name] = lambda: asterisk.check(host, who, ports)
    found = Finding("user").ok(f"{who.name}, {why}"), *at_once(parts, 15.0)
    return list(causes_only(found)), config


def at_once(parts: Mapping[str, Part], longest: float) -> list[Finding]:
    """The findings of all *parts*, each on a thread of its own, for *longest* seconds in all."""
    until = time.monotonic() + longest
    late = f"not done within {longest:.0f} s", "run it again; what of it is stuck?"
    found: dict[str, Iterable[Finding]] = {name: [Finding(name).wrong(*late)] for name in parts}

    def look(name: str, part: Part) -> None:
        try:
            found[name] = list(part())
        except Exception as error:  # noqa: BLE001 - the other parts are of use all the same
            says = f"the check itself failed: {type(error).__name__}: {error}"[:200]
            found[name] = [Finding(name).warning(says, "please report this line")]

    threads = [threading.Thread(target=look, args=each, daemon=True) for each in parts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.01, until - time.monotonic()))
    return [*chain.from_iterable(found.values())]


def causes_only(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The *findings* in which what needs something that is wrong is not looked at."""
    cause: dict[str, str] = {}
    for each in findings:
        root = next((cause[need] for need in each.needs if need in cause), None)
        if root is not None and each.state is not CheckState.OK:
            each = each.skipped(f"not looked at: mend {root} first")
            cause[each.label] = root
        elif each.state is CheckState.WRONG:
            cause[each.label] = each.label
        yield each


def exit_status(findings: Iterable[Finding]) -> int:
    """That of the worst of them."""
    return max(_SHOWN[each.state][0] for each in findings)


def without_secrets(findings: Iterable[Finding], config: Config | None) -> list[Finding]:
    """The *findings* as they can be shown, whoever has said what is in them."""
    senders, outbox = (config.senders.values(), config.outbox) if config else ((), "")
    password = outbox.partition("://")[2].rpartition("@")[0].partition(":")[2]
    secrets = [*chain.from_iterable(map(secrets_of, senders)), password]

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "xxx") if len(secret) > 2 else text
        return "".join(char if char.isprintable() else " " for char in text)

    return [replace(each, says=clean(each.says), do=clean(each.do)) for each in findings]


def show(findings: Sequence[Finding], out: TextIO) -> None:
    """A line each, and below a bad one what to do; what all of it means comes last on a terminal.

    If a program reads it, that comes first: monitoring shows the first line only.
    """
    console = Console(file=out, soft_wrap=True)
    letters, whole = console.options.ascii_only, not out.isatty()  # the encoding has no signs
    several = len({each.of for each in findings if each.of}) > 1
    labels = [each.label if several else each.name for each in findings]
    wrong = [each for each in findings if each.state is CheckState.WRONG]
    bad = ", ".join(f"{each.label} ({each.says})" if whole else each.label for each in wrong)
    warned = sum(each.state is CheckState.WARNING for each in findings)
    also = f", {warned} to look at" if warned else ""
    fine = f"Nothing is wrong{also}. No SMS was sent: dialplan-sms send does that"
    summary = Text(f"Wrong: {bad}{also}" if bad else fine)
    width = max(map(len, labels), default=0)
    lines = [summary] if whole else []
    for each, label in zip(findings, labels, strict=True):
        _, signs, style = _SHOWN[each.state]
        mark, arrow = signs[letters], ("→", "->")[letters]
        says = (each.says or "not looked at", "dim" if each.state is CheckState.SKIPPED else "")
        cure = f"\n{' ' * (len(mark) + width + 3)}{arrow} {each.do}" if each.do else ""
        lines += [Text.assemble((mark, style), f" {label:{width}}  ", says, (cure, "bold"))]
    console.print(*lines, *([] if whole else ["", summary]), sep="\n")
