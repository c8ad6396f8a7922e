"""The step that writes sms.conf: a new file, or a section in the admin's."""

import os
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms import config as smsconf
from dialplan_sms import files
from dialplan_sms.conffile import ConfigError
from dialplan_sms.files import Owner
from dialplan_sms.setup.answers import Answers
from dialplan_sms.setup.smsconf import differing, extended, fresh
from dialplan_sms.setup.steps import State, Work, new_of
from dialplan_sms.trust import HostError

_MODE = 0o640


@dataclass(frozen=True, slots=True)
class PutSender:
    """``answers`` is None where sms.conf is there, or (to show the plan) not yet asked for."""

    path: Path
    answers: Answers | None
    outbox: Path
    owner: Owner
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
                f"{_stays(keys, self.answers.sender)}; the new goes to {new_of(self.path).name}"
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
            self._extend(work)
        elif state is State.KEEP:
            # Not in the manifest: it stays as sms.conf does, and a digest would tell of a password.
            files.put(new_of(self.path), self._fresh(), _MODE, self.owner)
            work.failed = True
            return self._not_in_force()
        return ""

    def _not_in_force(self) -> str:
        """What was answered and is not valid, and how it becomes so."""
        config = smsconf.load(self.path)
        if self.answers is None:
            return ""
        keys, of = differing(config, self.answers), self.answers.sender
        cure = f"correct {' and '.join(keys)} in [{of}] of {self.path}"
        if len(config.senders) == 1:  # else those of others would be lost
            cure += f", or put {new_of(self.path)} in its place"
        return f"{_stays(keys, of)}: {cure}; then systemctl reload dialplan-sms"

    def _fresh(self) -> bytes:
        if self.answers is None:
            raise HostError("there is no sms.conf: give --url, --sender and --password-file")
        return fresh(self.answers, self.outbox).encode()

    def _extend(self, work: Work) -> None:
        path = files.settled(self.path)
        config = smsconf.load(path)
        there = files.look(path)
        content = there.content if there else b""
        mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
        if self.answers is None or there is None:
            return
        text = extended(content[len(mark) :].decode(), self.answers, config)
        staged = files.stage(path, mark + text.encode(), there.mode, there.owner)
        try:
            smsconf.load(staged)
        except ConfigError as error:
            staged.unlink()
            said = str(error).replace(str(staged), str(path))
            raise HostError(f"the sender cannot be added: {said}") from None
        work.manifest.expect(self.pending)
        files.commit(staged, path)


def _stays(keys: list[str], sender: str) -> str:
    return f"the old {' and '.join(keys)} of [{sender}] stay{'s' * (len(keys) == 1)} in force"
