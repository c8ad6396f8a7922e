"""The text of sms.conf: a new one, one with another sender, or one with other answers."""

import difflib
import re
import tempfile
from pathlib import Path

from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import GENERAL, Config
from dialplan_sms.config.keys import SECRETS
from dialplan_sms.config.parser import ConfigError, Section, parse
from dialplan_sms.host import files

_OLD = re.compile(r"(\s*)\w+\s*=(?:[^;]|(?<=\\);)*?(\s*(?:(?<!\\);.*)?)")
"""A line with a key: what stands before it, and the comment behind it."""


def fresh(answers: Answers, outbox: Path) -> str:
    """A whole sms.conf with one sender."""
    return (
        "; Written by dialplan-sms setup. README.md of dialplan-sms explains every key.\n"
        f"[general]\noutbox = sqlite:///{_escaped(str(outbox))}\n\n{_section(answers)}"
    )


def extended(text: str, answers: Answers, config: Config) -> str:
    """*text* with another sender's section at its end; who was the default sender, stays it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    added = newline + _section(answers).replace("\n", newline)
    if text and not text.endswith("\n"):
        added = newline + added
    # With a second sender, the only one would not be the default any more.
    default = config.default_sender
    sections = parse(text, config.path)
    general = next((section for section in sections if section.name == GENERAL), None)
    if default and not (general and "default_sender" in general.values):
        line = f"default_sender = {_escaped(default)}{newline}"
        if general is None:
            added = f"{newline}[{GENERAL}]{newline}{line}{added}"
        else:
            text = _below(text, general, line)
    return text + added


def corrected(text: str, answers: Answers, config: Config) -> str:
    """*text* with what *answers* give otherwise in place of the old; all the rest stays."""
    section = next(s for s in parse(text, config.path) if s.name == answers.sender)
    changed = differing(config, answers)
    lines = re.split(r"(\r\n|\r|\n)", text)
    missing = []
    for key, value in _keys(answers):
        names = SECRETS if key == answers.kind else (key,)
        if not set(names) & set(changed):
            continue
        line = f"{key} = {_escaped(value)}"
        there = next((section.values[name] for name in names if name in section.values), None)
        if there is None:
            missing.append(line)
        else:
            at = 2 * there.place.line - 2
            old = _OLD.fullmatch(lines[at])
            lines[at] = f"{old[1]}{line}{old[2]}" if old else line
    header = 2 * section.place.line - 2
    newline = "\r\n" if "\r\n" in text else "\n"
    lines[header] += "".join(newline + line for line in missing)
    return "".join(lines)


def changed_lines(old: str, new: str) -> list[int]:
    """The lines of *new* that are not *old*'s."""
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    return [
        n + 1 for kind, *_, a, b in matcher.get_opcodes() if kind != "equal" for n in range(a, b)
    ]


def _below(text: str, section: Section, line: str) -> str:
    """*text* with *line* below the section's header."""
    ends = [found.end() for found in re.finditer(r"\r\n|\r|\n", text)]
    position = ends[section.place.line - 1] if section.place.line <= len(ends) else len(text)
    before = text[:position]
    return before + ("" if before[-1:] in "\r\n" else "\n") + line + text[position:]


def differing(config: Config, answers: Answers) -> list[str]:
    """The keys that *answers* give otherwise than sms.conf, which has their sender already."""
    keys = ["url", "password", "token"]
    try:
        wanted = _loaded(fresh(answers, Path("/outbox"))).senders[answers.sender]
    except ConfigError:
        return keys
    found = config.senders[answers.sender]
    keys += ["verify"] if wanted.url.startswith("https:") else []
    keys += ["country"] if answers.country else []
    return [key for key in keys if getattr(found, key) != getattr(wanted, key)]


def _loaded(text: str) -> Config:
    # In a folder of our own: it holds the password.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sms.conf"
        files.put(path, text.encode(), 0o600)
        return smsconf.load(path)


def _keys(answers: Answers) -> list[tuple[str, str]]:
    keys = [
        ("url", answers.url),
        (answers.kind, answers.secret),
        ("verify", answers.verify),
        ("country", answers.country),
    ]
    return [(key, value) for key, value in keys if value]


def _section(answers: Answers) -> str:
    lines = "".join(f"{key} = {_escaped(value)}\n" for key, value in _keys(answers))
    return f"[{answers.sender}]\n{lines}"


def _escaped(text: str) -> str:
    return text.replace(";", "\\;")
