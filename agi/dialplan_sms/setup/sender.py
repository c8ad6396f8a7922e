"""The step that writes sms.conf: a new file, or a section in the admin's."""

import os
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms import config as smsconf
from dialplan_sms.conffile import ConfigError
from dialplan_sms.config import Config
from dialplan_sms.setup import files
from dialplan_sms.setup.answers import Answers
from dialplan_sms.setup.files import Owner
from dialplan_sms.setup.host import SetupError
from dialplan_sms.setup.smsconf import extended, fresh, same
from dialplan_sms.setup.steps import State, Work, new_of

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
        if self.answers is None or self._has(config):
            return State.THERE, "it stays as it is"
        if self.answers.sender not in config.senders:
            return State.CHANGE, f"{who} at its end"
        if files.content_of(new_of(self.path)) == self._fresh():
            return State.THERE, f"it has {who} otherwise; see {new_of(self.path).name}"
        return State.KEEP, f"it has {who} otherwise; these answers go to {new_of(self.path).name}"

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
            return f"{self.path} stays: compare it with {new_of(self.path)}"
        return ""

    def _has(self, config: Config) -> bool:
        answers = self.answers
        return answers is not None and answers.sender in config.senders and same(config, answers)

    def _fresh(self) -> bytes:
        if self.answers is None:
            raise SetupError("there is no sms.conf: give --url, --sender and --password-file")
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
            raise SetupError(f"the sender cannot be added: {said}") from None
        work.manifest.expect(self.pending)
        files.commit(staged, path)
