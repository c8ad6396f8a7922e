"""The findings for people, and for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TextIO

from rich.text import Text

from dialplan_sms.cli.check.finding import CheckState, Finding, exit_status
from dialplan_sms.config.config import Config
from dialplan_sms.host.console import Console
from dialplan_sms.routes.reply import secrets_of

_SIGNS = {
    CheckState.OK: ("✓", "ok", "green"),
    CheckState.WARNING: ("!", "!", "yellow"),
    CheckState.WRONG: ("✗", "X", "bold red"),
    CheckState.SKIPPED: ("–", "-", "dim"),
}


def without_secrets(findings: Iterable[Finding], config: Config | None) -> list[Finding]:
    """The *findings* as they can be shown, whoever has said what is in them."""
    secrets: list[str] = []
    if config is not None:
        secrets += (secret for sender in config.senders.values() for secret in secrets_of(sender))
        login = config.outbox.partition("://")[2].rpartition("@")[0]
        secrets += filter(lambda password: len(password) > 2, [login.partition(":")[2]])

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "xxx")
        return "".join(char if char.isprintable() else " " for char in text)

    return [replace(each, says=clean(each.says), do=clean(each.do)) for each in findings]


def as_json(findings: Sequence[Finding]) -> str:
    """An object with the exit status and every line."""
    lines = [
        {"name": each.name, "state": each.state.value}
        | ({"sender": each.of} if each.of else {})
        | {"says": each.says, "do": each.do}
        for each in findings
    ]
    return json.dumps({"status": exit_status(findings), "findings": lines}, indent=2)


def show(findings: Sequence[Finding], out: TextIO) -> None:
    """A line each, and below a bad one what to do.

    What all of it means comes last on a terminal, and first if a program reads it.
    """
    console = Console(file=out, soft_wrap=True)
    can = _can(out.encoding or "ascii")
    several = len({each.of for each in findings if each.of}) > 1
    labels = [each.label if several else each.name for each in findings]
    terminal = out.isatty()
    if not terminal:
        console.print(Text(_summary(findings, whole=True)))
    width = max(map(len, labels), default=0)
    for each, label in zip(findings, labels, strict=True):
        sign, plain, style = _SIGNS[each.state]
        mark, arrow = (sign, "→") if can else (f"{plain:2}", "->")
        says = (each.says or "not looked at", "dim" if each.state is CheckState.SKIPPED else "")
        console.print(Text.assemble((mark, style), f" {label:{width}}  ", says))
        if each.do:
            margin = " " * (len(mark) + width + 3)
            console.print(Text.assemble(margin, (f"{arrow} {each.do}", "bold")))
    if terminal:
        console.print(Text(f"\n{_summary(findings, whole=False)}"))


def _summary(findings: Sequence[Finding], whole: bool) -> str:
    """In one line; *whole* with what is wrong, as monitoring shows the first line only."""
    bad = [
        f"{each.label} ({each.says})" if whole else each.label
        for each in findings
        if each.state is CheckState.WRONG
    ]
    warned = sum(1 for each in findings if each.state is CheckState.WARNING)
    also = f", {warned} to look at" if warned else ""
    if bad:
        return f"Wrong: {', '.join(bad)}{also}"
    return f"Nothing is wrong{also}. No SMS was sent: dialplan-sms send does that"


def _can(encoding: str) -> bool:
    """Whether there are signs in that encoding; else there are letters."""
    try:
        "✓✗–→".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
