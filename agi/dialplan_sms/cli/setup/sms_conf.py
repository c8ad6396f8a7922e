"""sms.conf: a new file, another sender in the admin's, or a whole file with answers beside it."""

import difflib
import os
import re
import shlex
from functools import partial
from pathlib import Path

from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.host import AsteriskHost
from dialplan_sms.cli.setup.steps import Action, StepState, new_of, new_owner
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import GENERAL, Config
from dialplan_sms.config.keys import SECRETS, SENDER
from dialplan_sms.config.parser import ConfigError, Place, parse
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError

_OLD = re.compile(r"(\s*)\w+\s*=(?:[^;]|(?<=\\);)*?(\s*(?:(?<!\\);.*)?)")
"""A line with a key: what stands before it, and the comment behind it."""
_LINE_END = re.compile(r"(\r\n|\r|\n)")


def put_sender(found: AsteriskHost, answers: Answers | None) -> Action:
    """The sender of *answers* in sms.conf.

    *answers* is None if sms.conf is there, or (to show the plan) if nobody was asked yet.
    """
    path, unchanged = found.etc / "sms.conf", "it stays as it is"
    who = f"sender {answers.sender}" if answers else "a sender, which setup asks for"
    if not path.exists():
        about = f"{who}; mode 0640, group {found.user.group}"
        put = partial(_put_whole, path, answers, found) if answers else None
        return Action(path, StepState.MAKE, about, put, "service")
    if not os.access(path, os.R_OK):  # a dry run without root
        return Action(path, StepState.THERE, unchanged)
    try:
        config = smsconf.load(path)
    except ConfigError as error:
        about = f"{unchanged}, and cannot be used: {error}"
        return Action(path, StepState.NOTE, about, says=f"{path}: {about}", fails=True)
    if answers and answers.sender not in config.senders:
        add = partial(_rewrite, path, path, answers)
        stays = f"; {config.default_sender} stays the default" if config.default_sender else ""
        about = f"{who} at its end{stays}{new_owner(path)}"
        return Action(path, StepState.CHANGE, about, add, "service")
    if answers is None or not (keys := differing(config, answers)):
        return Action(path, StepState.THERE, unchanged)
    old = (
        f"the old {' and '.join(keys)} of [{answers.sender}] stay{'s' * (len(keys) == 1)} in force"
    )
    about = f"{old} until you move {new_of(path).name}, a whole file with the new, in its place"
    beside = partial(_put_beside, path, answers, old)
    # Not in the manifest: it stays as sms.conf does, and a digest would betray a password.
    return Action(path, StepState.KEEP, about, beside, fails=True)


def _put_whole(path: Path, answers: Answers, found: AsteriskHost) -> None:
    """A whole sms.conf with one sender."""
    outbox = _escaped(str(found.spool / "sms/outbox.sqlite"))
    text = (
        "; Written by dialplan-sms setup. docs/sms.conf.md of dialplan-sms explains every key.\n"
        f"[{GENERAL}]\noutbox = sqlite:///{outbox}\n\n{_section(answers)}"
    )
    files.put(path, text.encode(), 0o640, Ownership(0, found.user.gids[0]))


def _put_beside(path: Path, answers: Answers, old: str) -> str:
    new = new_of(path)
    _rewrite(path, new, answers)
    was, now = ((files.content_of(each) or b"").decode().splitlines() for each in (path, new))
    codes = difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes()
    lines = [str(n + 1) for kind, *_, a, b in codes if kind != "equal" for n in range(a, b)]
    move = shlex.join(["mv", str(new), os.path.realpath(path)])
    return (
        f"{old}: {new} is the whole file with the new, in line{'s' * (len(lines) > 1)}"
        f" {', '.join(lines)}: look at it, then {move} and systemctl reload dialplan-sms"
    )


def _rewrite(path: Path, to: Path, answers: Answers) -> None:
    """Write sms.conf at *path* with *answers* to a file of the same rights.

    Raises HostError if it could not be used.
    """
    there = files.look(path)
    if there is None:
        raise HostError(f"{path} is gone: run setup again")

    def check(fresh: Path) -> None:
        try:
            left = differing(smsconf.load(fresh), answers)
        except ConfigError as error:
            said = str(error).replace(str(fresh), str(path))
            raise HostError(f"the sender cannot be put into sms.conf: {said}") from None
        if left:
            by_hand = f"correct {' and '.join(left)} of [{answers.sender}] there by hand"
            raise HostError(f"{path}: {by_hand}")

    config = smsconf.load(path)
    change = with_answers if answers.sender in config.senders else with_sender
    text = change(there.content.decode(), answers, config)
    files.put(to, text.encode(), there.mode, there.owner, check)


def with_sender(text: str, answers: Answers, config: Config) -> str:
    """*text* with another sender's section at its end; the default sender stays the default."""
    newline = _newline(text)
    added = newline + _section(answers).replace("\n", newline)
    if text and not text.endswith("\n"):
        added = newline + added
    # With a second sender, the only one would not be the default any more.
    default = config.default_sender
    general = parse(text, config.path).get(GENERAL)
    if default and not (general and "default_sender" in general.values):
        line = f"default_sender = {_escaped(default)}"
        if general is None:
            added = f"{newline}[{GENERAL}]{newline}{line}{newline}{added}"
        else:
            text = _below(text, general.place.line, [line])
    return text + added


def with_answers(text: str, answers: Answers, config: Config) -> str:
    """*text* with *answers* in place of what differs from them; all the rest stays."""
    section = parse(text, config.path)[answers.sender]
    lines, missing = _LINE_END.split(text), []  # the lines at even, their ends at odd places
    for key in filter(answers.keys.get, differing(config, answers)):
        line = f"{key} = {_escaped(answers.keys[key])}"
        names = SECRETS if key in SECRETS else (key,)
        there = next((section.values[name] for name in names if name in section.values), None)
        if there is None:
            missing.append(line)
        else:
            at = 2 * there.place.line - 2
            old = _OLD.fullmatch(lines[at])
            lines[at] = f"{old[1]}{line}{old[2]}" if old else line
    return _below("".join(lines), section.place.line, missing)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _below(text: str, number: int, added: list[str]) -> str:
    """*text* with the lines *added* below the one of that number."""
    lines = _LINE_END.split(text)
    lines[2 * number - 2] += "".join(_newline(text) + line for line in added)
    return "".join(lines)


def differing(config: Config, answers: Answers) -> list[str]:
    """The keys in which *answers* differ from sms.conf, which has their sender already."""
    found, place = config.senders[answers.sender], Place(config.path, 0)
    return [
        key
        for key, text in answers.keys.items()
        if (text and SENDER[key].kind(text, place)) != getattr(found, key)
    ]


def _section(answers: Answers) -> str:
    pairs = ((key, text) for key, text in answers.keys.items() if text)
    return f"[{answers.sender}]\n" + "".join(f"{key} = {_escaped(text)}\n" for key, text in pairs)


def _escaped(text: str) -> str:
    return text.replace(";", "\\;")
