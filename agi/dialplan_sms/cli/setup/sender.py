"""The step that writes sms.conf: a new file, a section in the admin's, or a whole one beside it."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.smsconf import changed_lines, corrected, differing, extended, fresh
from dialplan_sms.cli.setup.steps import State, Work, new_of
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import HostError

_MODE = 0o640


@dataclass(frozen=True, slots=True)
class PutSender:
    """``answers`` is None where sms.conf is there, or (to show the plan) not yet asked for."""

    path: Path
    answers: Answers | None
    outbox: Path
    owner: Ownership
    group: str
    pending: str = "service"

    @property
    def target(self) -> str:
        return str(self.path)

    def state(self, work: Work) -> tuple[State, str]:
        rights = f"mode 0640, group {self.group}"
        who = f"sender {self.answers.sender}" if self.answers else "a sender, which setup asks for"
        if not self.path.exists():
            return State.MAKE, f"{who}; {rights}"
        if not os.access(self.path, os.R_OK):  # a dry run without root
            return State.THERE, "it stays as it is"
        try:
            config = smsconf.load(self.path)
        except ConfigError as error:
            return State.NOTE, f"it stays as it is, and cannot be used: {error}"
        if self.answers is None:
            return State.THERE, "it stays as it is"
        if self.answers.sender not in config.senders:
            return State.CHANGE, f"{who} at its end"
        if keys := differing(config, self.answers):
            return State.KEEP, (
                f"{_stays(keys, self.answers.sender)}; a whole file with the new goes"
                f" beside it, {new_of(self.path).name}"
            )
        return State.THERE, "it stays as it is"

    def do(self, work: Work) -> str:
        state, about = self.state(work)
        if state is State.NOTE:
            work.failed = True
            return f"{self.path}: {about}"
        if state is State.MAKE:
            work.manifest.expect(self.pending)
            files.put(self.path, self._fresh(), _MODE, self.owner)
        elif state is State.CHANGE:
            self._rewrite(extended, Path(os.path.realpath(self.path)), work, self.pending)
        elif state is State.KEEP:
            # Not in the manifest: it stays as sms.conf does, and a digest would tell of a password.
            lines = self._rewrite(corrected, new_of(self.path), work)
            work.failed = True
            return self._not_in_force(lines)
        return ""

    def _not_in_force(self, lines: list[int]) -> str:
        """What was answered and is not valid, and how it becomes so."""
        if self.answers is None:
            return ""
        path, new = Path(os.path.realpath(self.path)), new_of(self.path)
        keys = differing(smsconf.load(path), self.answers)
        return (
            f"{_stays(keys, self.answers.sender)}: {new} is the whole file with the new, in"
            f" line{'s' * (len(lines) > 1)} {', '.join(map(str, lines))}: look at it, then"
            f" {shlex.join(['mv', str(new), str(path)])} and systemctl reload dialplan-sms"
        )

    def _fresh(self) -> bytes:
        if self.answers is None:
            raise HostError("there is no sms.conf: give --url, --sender and --password-file")
        return fresh(self.answers, self.outbox).encode()

    def _rewrite(
        self,
        change: Callable[[str, Answers, Config], str],
        to: Path,
        work: Work,
        pending: str = "",
    ) -> list[int]:
        """Write what *change* makes of sms.conf *to* a file of the same rights, if it is usable.

        The numbers of the lines that are new.
        """
        path = Path(os.path.realpath(self.path))
        config = smsconf.load(path)
        there = files.look(path)
        if self.answers is None or there is None:
            return []
        content = there.content
        mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
        old = content[len(mark) :].decode()
        new = change(old, self.answers, config)
        sender = self.answers

        def check(fresh: Path) -> None:
            try:
                left = differing(smsconf.load(fresh), sender)
            except ConfigError as error:
                said = str(error).replace(str(fresh), str(path))
                raise HostError(f"the sender cannot be put into sms.conf: {said}") from None
            if left:
                raise HostError(
                    f"{path}: correct {' and '.join(left)} of [{sender.sender}] there by hand"
                )

        work.manifest.expect(pending)
        files.put(to, mark + new.encode(), there.mode, there.owner, check)
        return changed_lines(old, new)


def _stays(keys: list[str], sender: str) -> str:
    return f"the old {' and '.join(keys)} of [{sender}] stay{'s' * (len(keys) == 1)} in force"
