"""sms.conf: a new file, another sender in the admin's, or a whole file with answers beside it."""

import difflib
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.steps import Action, Step, StepState, Work, new_of, new_owner
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.config import GENERAL, Config
from dialplan_sms.config.keys import SECRETS
from dialplan_sms.config.parser import ConfigError, Place, parse
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError

_MODE = 0o640
_OLD = re.compile(r"(\s*)\w+\s*=(?:[^;]|(?<=\\);)*?(\s*(?:(?<!\\);.*)?)")
"""A line with a key: what stands before it, and the comment behind it."""
_UNCHANGED = "it stays as it is"


def put_sender(
    path: Path, answers: Answers | None, outbox: Path, owner: Ownership, group: str
) -> Step:
    """The sender of *answers* in sms.conf.

    *answers* is None if sms.conf is there, or (to show the plan) if nobody was asked yet.
    """
    who = f"sender {answers.sender}" if answers else "a sender, which setup asks for"

    def look(work: Work) -> Action:
        def make() -> None:
            if answers is None:
                raise HostError("there is no sms.conf: give --url, --sender and --password-file")
            work.manifest.expect("service")
            files.put(path, _whole(answers, outbox).encode(), _MODE, owner)

        def add(answers: Answers) -> None:
            work.manifest.expect("service")
            _rewrite(path, path, answers, with_sender)

        def put_beside(answers: Answers, keys: list[str]) -> str:
            # Not in the manifest: it stays as sms.conf does, and a digest would betray a password.
            work.failed = True
            new = new_of(path)
            move = shlex.join(["mv", str(new), os.path.realpath(path)])
            lines = _rewrite(path, new, answers, with_answers)
            return (
                f"{_in_force(keys, answers)}: {new} is the whole file with the new, in"
                f" line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}: look at it, then"
                f" {move} and systemctl reload dialplan-sms"
            )

        def refuse(said: str) -> str:
            work.failed = True
            return f"{path}: {said}"

        if not path.exists():
            about = f"{who}; mode 0640, group {group}"
            return Action(path, StepState.MAKE, about, make, "service")
        if not os.access(path, os.R_OK):  # a dry run without root
            return Action(path, StepState.THERE, _UNCHANGED)
        try:
            config = smsconf.load(path)
        except ConfigError as error:
            about = f"{_UNCHANGED}, and cannot be used: {error}"
            return Action(path, StepState.NOTE, about, lambda: refuse(about))
        if answers is None:
            return Action(path, StepState.THERE, _UNCHANGED)
        if answers.sender not in config.senders:
            about = f"{who} at its end{new_owner(path)}"
            return Action(path, StepState.CHANGE, about, lambda: add(answers), "service")
        if keys := differing(config, answers):
            about = f"{_in_force(keys, answers)}; a whole file with the new goes beside it"
            about = f"{about}, {new_of(path).name}"
            return Action(path, StepState.KEEP, about, lambda: put_beside(answers, keys))
        return Action(path, StepState.THERE, _UNCHANGED)

    return look


def _in_force(keys: list[str], answers: Answers) -> str:
    said = f"the old {' and '.join(keys)} of [{answers.sender}]"
    return f"{said} stay{'s' * (len(keys) == 1)} in force"


def _rewrite(
    path: Path, to: Path, answers: Answers, change: Callable[[str, Answers, Config], str]
) -> list[int]:
    """Write what *change* makes of sms.conf at *path* to a file of the same rights.

    The numbers of the lines that are new. Raises HostError if it could not be used.
    """
    there = files.look(path)
    if there is None:
        raise HostError(f"{path} is gone: run setup again")
    text = there.content.decode()
    old = text.removeprefix("\ufeff")
    mark = text[: len(text) - len(old)]
    new = change(old, answers, smsconf.load(path))

    def check(fresh: Path) -> None:
        try:
            left = differing(smsconf.load(fresh), answers)
        except ConfigError as error:
            said = str(error).replace(str(fresh), str(path))
            raise HostError(f"the sender cannot be put into sms.conf: {said}") from None
        if left:
            by_hand = f"correct {' and '.join(left)} of [{answers.sender}] there by hand"
            raise HostError(f"{path}: {by_hand}")

    files.put(to, f"{mark}{new}".encode(), there.mode, there.owner, check)
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    changed = [range(a, b) for kind, *_, a, b in matcher.get_opcodes() if kind != "equal"]
    return [number + 1 for lines in changed for number in lines]


def _whole(answers: Answers, outbox: Path) -> str:
    """A whole sms.conf with one sender."""
    return (
        "; Written by dialplan-sms setup. docs/sms.conf.md of dialplan-sms explains every key.\n"
        f"[{GENERAL}]\noutbox = sqlite:///{_escaped(str(outbox))}\n\n{_section(answers)}"
    )


def with_sender(text: str, answers: Answers, config: Config) -> str:
    """*text* with another sender's section at its end; the default sender stays the default."""
    newline = _newline(text)
    added = newline + _section(answers).replace("\n", newline)
    if text and not text.endswith("\n"):
        added = newline + added
    # With a second sender, the only one would not be the default any more.
    default = config.default_sender
    sections = {section.name: section for section in parse(text, config.path)}
    general = sections.get(GENERAL)
    if default and not (general and "default_sender" in general.values):
        line = f"default_sender = {_escaped(default)}"
        if general is None:
            added = f"{newline}[{GENERAL}]{newline}{line}{newline}{added}"
        else:
            text = _below(_lines(text), general.place.line, [line], newline)
    return text + added


def with_answers(text: str, answers: Answers, config: Config) -> str:
    """*text* with *answers* in place of what differs from them; all the rest stays."""
    section = next(s for s in parse(text, config.path) if s.name == answers.sender)
    changed = differing(config, answers)
    lines = _lines(text)
    missing = []
    for key, value in _keys(answers):
        names = SECRETS if key == answers.secret.kind else (key,)
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
    return _below(lines, section.place.line, missing, _newline(text))


def _lines(text: str) -> list[str]:
    """The lines at even, their ends at odd places."""
    return re.split(r"(\r\n|\r|\n)", text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _below(lines: list[str], number: int, added: list[str], newline: str) -> str:
    """The text of *lines* with what is *added* below the line of that number."""
    lines[2 * number - 2] += "".join(newline + line for line in added)
    return "".join(lines)


def differing(config: Config, answers: Answers) -> list[str]:
    """The keys in which *answers* differ from sms.conf, which has their sender already."""
    place = Place(config.path, 0)
    wanted = {"url": values.url(answers.url, place), "password": "", "token": ""}
    wanted[answers.secret.kind] = answers.secret.text
    if answers.verify:
        wanted["verify"] = values.verify(answers.verify, place)
    if answers.country:
        wanted["country"] = answers.country
    found = config.senders[answers.sender]
    return [key for key, value in wanted.items() if getattr(found, key) != value]


def _keys(answers: Answers) -> list[tuple[str, str]]:
    keys = {
        "url": answers.url, answers.secret.kind: answers.secret.text, "verify": answers.verify,
        "country": answers.country,
    }  # fmt: skip
    return [(key, value) for key, value in keys.items() if value]


def _section(answers: Answers) -> str:
    lines = "".join(f"{key} = {_escaped(value)}\n" for key, value in _keys(answers))
    return f"[{answers.sender}]\n{lines}"


def _escaped(text: str) -> str:
    return text.replace(";", "\\;")
