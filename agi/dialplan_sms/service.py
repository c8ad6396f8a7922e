"""The core: check a Draft, send the Sms, say what became of it. It knows no protocol."""

import contextlib
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from dialplan_sms import log
from dialplan_sms.conffile import ConfigError
from dialplan_sms.config import Config, Sender
from dialplan_sms.log import Handled
from dialplan_sms.outcome import Cause, Outcome, Refused, error
from dialplan_sms.sms import Draft, Sms, compose

_WORD = re.compile(r"[0-9A-Za-z_.-]{1,20}")


class Route(Protocol):
    """What carries an Sms away; ``smsapi.SmsApi`` is the one that exists."""

    def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
        """Send now, once, and be back by *until* (seconds on the service's clock).

        *going_out* is called just before it can have an effect.
        """


class Service:
    """Takes Drafts from the doors.

    *load* gives the configuration or raises ConfigError; *route* gives the way to a sender's PBX.
    *now* is local time, *clock* counts seconds; *watch* is told of every call.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        route: Callable[[Sender], Route],
        now: Callable[[], datetime] = datetime.now,
        clock: Callable[[], float] = time.monotonic,
        watch: Callable[[Handled], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._route = route
        self._now = now
        self._clock = clock
        self._watch = watch
        self._log = "syslog"

    def handle(
        self,
        draft: Draft,
        going_out: Callable[[], None] = lambda: None,
        began: float | None = None,
    ) -> Handled:
        """Send what *draft* asks for. Never raises; log() the result once the door has told it.

        *began* is when the call came in: its time runs from there.
        """
        started = self._clock() if began is None else began
        sms, name = None, ""
        try:
            config = self._load()
            self._log = config.log
            if draft.refused is not None:
                raise draft.refused
            sender = choose(config, draft)
            name = sender.name
            sms = check(draft, sender, self._now())
            until = started + sender.call_timeout
            outcome = self._route(sender).send(sms, going_out, until)
        except ConfigError as failure:
            outcome = error(Cause.CONFIG, str(failure))
        except Refused as refused:
            outcome = refused.outcome
        except Exception as failure:  # noqa: BLE001 - a call must get its status
            outcome = error(Cause.INTERNAL, _where(failure))
        return Handled(draft, sms, name, outcome, self._clock() - started)

    def log(self, handled: Handled) -> None:
        """Write the line of one call. Never raises, whatever the log is."""
        self._watch(handled)
        with contextlib.suppress(Exception):
            log.write(self._log, log.describe(handled), log.is_failure(handled.outcome))

    def note(self, line: str, failed: bool = True) -> None:
        """Write a line that is about no call. Never raises."""
        with contextlib.suppress(Exception):
            log.write(self._load().log, log.safe(line), failed)

    @property
    def longest(self) -> float:
        """Seconds of the longest call_timeout: when every call is over."""
        try:
            return max(sender.call_timeout for sender in self._load().senders.values())
        except ConfigError:
            return 30.0


def choose(config: Config, draft: Draft) -> Sender:
    """The sender that *draft* names, or the default. Raises Refused(UNKNOWN_SENDER)."""
    sender = config.sender(draft.sender)
    if sender is not None:
        return sender
    known = ", ".join(config.senders)
    if draft.sender:
        none = f"is no section of {config.path}, which has {known}"
        raise Refused(
            Cause.UNKNOWN_SENDER,
            f"the sender {draft.sender[:40]} {none}",
            # One word is the admin's own; more may be a text in the wrong place.
            f"the sender {draft.sender} {none}"
            if _WORD.fullmatch(draft.sender)
            else f"a sender of {len(draft.sender)} characters {none}",
        )
    raise Refused(
        Cause.UNKNOWN_SENDER,
        f"{config.path} has no default_sender: set it to one of {known}, or set SMS_SENDER",
    )


def check(draft: Draft, sender: Sender, now: datetime) -> Sms:
    """The Sms that *draft* asks for, if it can be sent in its mode. Raises Refused."""
    sms = compose(draft, sender, now)
    mode = draft.mode or sender.mode
    if mode == "wait":
        return sms
    if mode in ("queue", "fallback"):
        raise Refused(
            Cause.OUTBOX, f"mode {mode} needs the outbox, which this version lacks: use mode wait"
        )
    raise Refused(
        Cause.CONFIG,
        f"SMS_MODE {mode[:40]} is not wait, queue or fallback",
        f"SMS_MODE of {len(mode)} characters is not wait, queue or fallback",
    )


def _where(failure: BaseException) -> str:
    """What broke and where, without the values that a message or a traceback would show."""
    if isinstance(failure, ModuleNotFoundError):
        return (
            f"the Python package {failure.name} is missing: install dialplan-sms again, see README"
        )
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = ""
    if trace is not None:
        code = trace.tb_frame.f_code
        place = f" in {code.co_filename.rpartition('/')[2]} line {trace.tb_lineno}"
    return f"dialplan-sms broke, {type(failure).__name__}{place}: please report this line"
