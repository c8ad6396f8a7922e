"""sms.conf: a new file, another sender in the admin's, or a whole file with answers beside it."""

import difflib
import os
import re
import shlex
from pathlib import Path

from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.host import AsteriskHost, refuse
from dialplan_sms.cli.setup.steps import Action, Failed, Step, StepState, Work, new_of, new_owner
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.keys import SECRETS, SENDER
from dialplan_sms.config.parser import ConfigError, Place, parse
from dialplan_sms.host import files

# A line with a key: what stands before it, and the comment behind it.
_OLD = re.compile(r"(\s*)\w+\s*=(?:[^;]|(?<=\\);)*?(\s*(?:(?<!\\);.*)?)")
_LINE_END = re.compile(r"(\r\n|\r|\n)")


def put_sender(work: Work, found: AsteriskHost, answers: Answers | None) -> Step:
    """The sender of *answers* in sms.conf; None if that is there, or if nobody was asked yet."""
    path, unchanged, pending = found.etc / "sms.conf", "it stays as it is", ("service",)
    who = f"sender {answers.sender}" if answers else "a sender, which setup asks for"
    if path.exists() and not os.access(path, os.R_OK):  # a dry run without root
        yield Action(path, StepState.THERE, unchanged)
        return
    try:
        config = smsconf.load(path) if path.exists() else smsconf.Config(path, {})
    except ConfigError as error:
        yield Action(path, StepState.NOTE, f"{unchanged}, and cannot be used: {error}")
        raise Failed(f"{path}: {unchanged}, and cannot be used: {error}") from None
    if not config.senders:
        yield Action(path, StepState.MAKE, f"{who}; mode 0640, group {found.user.group}", pending)
        if answers:
            _write(config, path, answers, found)
    elif answers is None or not (keys := differing(config, answers)):
        yield Action(path, StepState.THERE, unchanged)
    elif answers.sender not in config.senders:
        stays = f"; {config.default_sender} stays the default" if config.default_sender else ""
        about = f"{who} at its end{stays}{new_owner(path)}"
        yield Action(path, StepState.CHANGE, about, pending)
        _write(config, path, answers, found)
    else:
        stay = f"stay{'s' * (len(keys) == 1)} in force"
        old, new = f"the old {' and '.join(keys)} of [{answers.sender}] {stay}", new_of(path)
        about = f"{old} until you move {new.name}, a whole file with the new, in its place"
        # Not in the manifest: it stays as sms.conf does, and a digest would betray a password.
        yield Action(path, StepState.KEEP, about)
        lines = _write(config, new, answers, found)
        move = shlex.join(["mv", str(new), os.path.realpath(path)])
        raise Failed(
            f"{old}: {new} is the whole file with the new, in line{'s' * (len(lines) > 1)}"
            f" {', '.join(lines)}: look at it, then {move} and systemctl reload dialplan-sms"
        )


def _write(config: smsconf.Config, to: Path, answers: Answers, host: AsteriskHost) -> list[str]:
    """Write sms.conf with *answers* to a file of the same rights; the numbers of the new lines."""

    def check(fresh: Path) -> None:
        left = " and ".join(differing(smsconf.load(fresh), answers))
        refuse(left, f"{config.path}: correct {left} of [{answers.sender}] there by hand")

    head = (
        "; Written by dialplan-sms setup. docs/sms.conf.md of dialplan-sms explains every key.\n"
        f"[{smsconf.GENERAL}]\noutbox = sqlite:///{_escaped(f'{host.spool}/sms/outbox.sqlite')}\n"
    )
    whole = files.Found(head.encode(), 0o640, files.Ownership(0, host.user.gids[0]))
    there = files.look(config.path) or whole
    old = there.content.decode()
    new = changed(old, answers, config)
    files.put(to, new.encode(), there.mode, there.owner, check)
    pair = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    spans = [range(a, b) for kind, *_, a, b in pair.get_opcodes() if kind != "equal"]
    return [str(number + 1) for span in spans for number in span]


def changed(text: str, answers: Answers, config: smsconf.Config) -> str:
    """*text* with *answers* in place of what differs; a new section goes to its end."""
    newline, sections = "\r\n" if "\r\n" in text else "\n", parse(text, config.path)
    lines = _LINE_END.split(text)  # the lines at even, their ends at odd places
    section, general = sections.get(answers.sender), sections.get(smsconf.GENERAL)
    if section is None:
        added = "\n" * bool(lines[-1]) + "\n"
        # With a second sender, the only one would not be the default any more.
        default = f"default_sender = {_escaped(config.default_sender or '')}"
        if config.default_sender and general is None:
            added += f"[{smsconf.GENERAL}]\n{default}\n\n"
        elif config.default_sender and general and "default_sender" not in general.values:
            lines[2 * general.place.line - 2] += newline + default
        pairs = {key: _escaped(text) for key, text in answers.keys.items() if text}
        added += "\n".join([f"[{answers.sender}]", *map(" = ".join, pairs.items()), ""])
        return "".join(lines) + added.replace("\n", newline)
    for key in filter(answers.keys.get, differing(config, answers)):
        line = f"{key} = {_escaped(answers.keys[key])}"
        names = SECRETS if key in SECRETS else (key,)
        there = next((section.values[name] for name in names if name in section.values), None)
        at = 2 * (there or section).place.line - 2
        if there is None:
            lines[at] += newline + line
        else:
            old = _OLD.fullmatch(lines[at])
            lines[at] = f"{old[1]}{line}{old[2]}" if old else line
    return "".join(lines)


def differing(config: smsconf.Config, answers: Answers) -> list[str]:
    """The keys in which *answers* differ from what sms.conf has of their sender, if it is there."""
    found, place = config.senders.get(answers.sender), Place(config.path, 0)
    meant = {key: text and SENDER[key].kind(text, place) for key, text in answers.keys.items()}
    return [key for key, value in meant.items() if value != getattr(found, key, None)]


def _escaped(text: str) -> str:
    return text.replace(";", "\\;")
