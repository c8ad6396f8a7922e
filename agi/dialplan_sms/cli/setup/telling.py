"""The steps that tell systemd and Asterisk of what has changed, and look whether it is so."""

from dataclasses import dataclass
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.cli.check.dialplan import Files
from dialplan_sms.cli.check.finding import State as Found
from dialplan_sms.cli.setup.steps import State, Work
from dialplan_sms.cli.setup.surroundings import UNIT
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.daemon import client
from dialplan_sms.sms.outcome import safe_line

_START = 100.0
"""Seconds that the service may take to stop and start (the unit's TimeoutStopSec is 40)."""

_PATIENCE = 2.0
"""Seconds that the running service is given to tell its version."""


@dataclass(frozen=True, slots=True)
class LoadDialplan:
    """``dialplan reload``, and the proof that [sub-sms] is there."""

    console: tuple[str, ...]
    runs: bool
    answers: bool
    pending: str = ""

    @property
    def target(self) -> str:
        return "the dialplan"

    def state(self, work: Work) -> tuple[State, str]:
        if not self.answers:
            return State.NOTE, ": ".join(self._why_not())
        if {"dialplan"} & (work.coming | work.manifest.pending) or not self.is_there(work):
            return State.RUN, "dialplan reload, then dialplan show sub-sms"
        return State.THERE, "it has [sub-sms]"

    def is_there(self, work: Work) -> bool:
        shown = work.host.run([*self.console, "dialplan show sub-sms"], 30).output
        return "Context 'sub-sms'" in shown

    def do(self, work: Work) -> str:
        if not self.answers:
            why, cure = self._why_not()
            return f"warning: {why}, so [sub-sms] could not be looked for: {cure}"
        done = work.host.run([*self.console, "dialplan reload"], 60)
        if not self.is_there(work):
            work.failed = True
            why = f" ({done.last_line})" if done.status else ""
            return (
                f"the dialplan has no [sub-sms] after its reload{why}: look for errors of"
                " pbx_config in Asterisk's log; where #include names a file that is missing, the"
                " old dialplan stays"
            )
        work.manifest.told("dialplan")
        return "the dialplan has [sub-sms]"

    def _why_not(self) -> tuple[str, str]:
        """Why Asterisk cannot be asked, and what to do."""
        if self.runs:  # without root, the console of a running one is closed
            return (
                "Asterisk's console does not answer",
                "run asterisk -rx 'dialplan reload' as root",
            )
        return "Asterisk does not run", "start it, which loads the dialplan"


@dataclass(frozen=True, slots=True)
class SeeOthers:
    """Whether the dialplan in *etc* has another [sub-sms], which only its admin can move."""

    etc: Path
    pending: str = ""

    @property
    def target(self) -> str:
        return "[sub-sms]"

    def state(self, work: Work) -> tuple[State, str]:
        merged = Files(self.etc).merged(coming=True)
        return (State.NOTE, f"{merged.says}: {merged.do}") if merged else (State.THERE, "")

    def do(self, work: Work) -> str:
        merged = Files(self.etc).merged(coming=True)
        if merged is None:
            return ""
        work.failed |= merged.state is Found.WRONG
        return f"{merged.says}: {merged.do}"


@dataclass(frozen=True, slots=True)
class StartService:
    """The unit enabled, started, active, and of this version; or how to do without systemd."""

    systemd: bool
    prefix: Path
    user: str
    conf: Path
    """sms.conf, which says where the service answers."""
    pending: str = ""

    @property
    def target(self) -> str:
        return "the service"

    def state(self, work: Work) -> tuple[State, str]:
        if not self.systemd:
            return State.NOTE, "no systemd here: sms.agi does the whole job by itself"
        if {"service"} & (work.coming | work.manifest.pending) or not self._is_active(work):
            return State.RUN, f"systemctl enable and restart {UNIT}"
        if (runs := running_version(self.conf)) not in (None, __version__):
            what = f"version {runs}" if runs else "an older version"
            return State.RUN, f"systemctl restart {UNIT}: {what} runs, {__version__} is installed"
        return State.THERE, "enabled and active"

    def do(self, work: Work) -> str:
        if not self.systemd:
            work.manifest.told("service")
            return (
                f"no systemd here: to have the service, too, let your supervisor run"
                f" {self.prefix}/bin/dialplan-sms serve as {self.user}"
            )
        work.manifest.note(Path("/") / UNIT, "service", UNIT)
        for words in (["daemon-reload"], ["enable", UNIT], ["restart", UNIT]):
            done = work.host.run(["systemctl", *words], _START)
            if done.status:
                work.failed = True
                return (
                    f"systemctl {' '.join(words)} failed, {done.last_line}: see journalctl -u"
                    " dialplan-sms -n 20; calls do without the service meanwhile"
                )
        if not self._is_active(work):
            work.failed = True
            return "the service is not active: see journalctl -u dialplan-sms -n 20"
        work.manifest.told("service")
        return "the service runs"

    def _is_active(self, work: Work) -> bool:
        run = work.host.run
        active = run(["systemctl", "is-active", UNIT], 20)
        enabled = run(["systemctl", "is-enabled", UNIT], 20)
        return active.status == 0 and enabled.status == 0


def running_version(conf: Path) -> str | None:
    """The version of the service that answers for *conf*; None where none does.

    Empty for one that is too old to tell it.
    """
    try:
        figures = client.figures(smsconf.load(conf).monitor[0], _PATIENCE)
    except (ConfigError, IndexError):
        return None  # the step of sms.conf says so
    except (OSError, client.NotOurs):
        return None
    return safe_line(str(figures.get("version", "")))[:40]
