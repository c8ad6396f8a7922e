"""The findings for people, and for programs."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TextIO

from rich.text import Text

from dialplan_sms.cli.check.finding import Finding, State, exit_status
from dialplan_sms.config.config import Config
from dialplan_sms.host.console import Console
from dialplan_sms.routes.reply import secrets_of

_SIGNS = {
    State.OK: ("✓", "ok", "green"),
    State.WARNING: ("!", "!", "yellow"),
    State.WRONG: ("✗", "X", "bold red"),
    State.SKIPPED: ("–", "-", "dim"),
}


def secrets_in(config: Config | None) -> tuple[str, ...]:
    """What must not be shown, wherever it comes from."""
    if config is None:
        return ()
    found = [secret for sender in config.senders.values() for secret in secrets_of(sender)]
    _, colon, rest = config.outbox.partition("://")[2].rpartition("@")[0].partition(":")
    return (*found, rest) if colon and len(rest) > 2 else tuple(found)


def without(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "xxx")
    return "".join(char if char.isprintable() else " " for char in text)


def as_json(findings: Sequence[Finding], secrets: Collection[str]) -> str:
    """An object with the exit status and every line."""
    lines: list[dict[str, Any]] = []
    for each in findings:
        line = {"name": each.name, "state": each.state.value}
        line |= {"sender": each.of} if each.of else {}
        line |= {"says": without(each.says, secrets), "do": without(each.do, secrets)}
        lines.append(line)
    return json.dumps({"status": exit_status(findings), "findings": lines}, indent=2)


def show(findings: Iterable[Finding], secrets: Collection[str], out: TextIO) -> None:
    """A line each, and below a bad one what to do.

    What all of it means comes last on a terminal, and first where a program reads it.
    """
    findings = list(findings)
    console = Console(file=out, soft_wrap=True)
    can = _can(out.encoding or "ascii")
    several = len({each.of for each in findings if each.of}) > 1
    labels = [each.label if several else each.name for each in findings]
    terminal = out.isatty()
    summary = without(_summary(findings, not terminal), secrets)
    if not terminal:
        console.print(Text(summary))
    width = max(map(len, labels), default=0)
    margin = " " * (width + (4 if can else 5))
    for each, label in zip(findings, labels, strict=True):
        sign, plain, style = _SIGNS[each.state]
        mark = sign if can else f"{plain:2}"
        says = without(each.says, secrets) or "not looked at"
        body = "dim" if each.state is State.SKIPPED else ""
        console.print(Text.assemble((mark, style), f" {label:{width}}  ", (says, body)))
        if each.do:
            arrow = "→" if can else "->"
            console.print(Text.assemble(margin, (f"{arrow} {without(each.do, secrets)}", "bold")))
    if terminal:
        console.print(Text(f"\n{summary}"))


def _summary(findings: Sequence[Finding], whole: bool) -> str:
    """In one line; *whole* with what is wrong, as monitoring shows the first line only."""
    bad = [
        f"{each.label} ({each.says})" if whole else each.label
        for each in findings
        if each.state is State.WRONG
    ]
    warned = sum(1 for each in findings if each.state is State.WARNING)
    also = f", {warned} to look at" if warned else ""
    if bad:
        return f"Wrong: {', '.join(bad)}{also}"
    return f"Nothing is wrong{also}. No SMS was sent: dialplan-sms send does that"


def _can(encoding: str) -> bool:
    try:
        "✓✗–→".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
