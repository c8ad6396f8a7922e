"""What every process that stays has: its sms.conf, which can change, and its signals."""

import os
import signal
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.routes.pbx import Routes

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# What a running process cannot change.
_FIXED = ("listen", "allow", "max_calls", "monitor", "outbox", "workers")
# What others import when they need it. An update may have replaced the files by then.
_LATE = ("certifi", "phonenumbers", "regex", "dialplan_sms.config.http")


class LiveConfig:
    """The sms.conf at *path* as it is in force. Raises ConfigError if it is wrong at first."""

    def __init__(self, path: Path) -> None:
        for name in _LATE:
            import_module(name)
        self._path = path
        self._waiting: list[str] = []
        self.config = self._first = smsconf.load(path, http=True)

    def __call__(self) -> Config:
        """The configuration in force."""
        return self.config

    def state(self) -> Mapping[str, Any]:
        """Which file is in force, in which version, and what of it waits for a restart."""
        return {
            "path": os.path.abspath(self._path),
            "version": self.config.version,
            "waiting": self._waiting,
        }

    def reload(self, routes: Routes) -> tuple[str, bool]:
        """Read sms.conf again; a line that says what came of it, and whether that is a failure.

        If it is wrong, the old one stays in force.
        """
        try:
            fresh = smsconf.load(self._path, http=True)
            for sender in fresh.senders.values():
                routes(sender)
        except ConfigError as error:
            return f"sms.conf is not taken over, the old one goes on: {error}", True
        changed = [key for key in _FIXED if getattr(fresh, key) != getattr(self._first, key)]
        if getattr(fresh.http, "fixed", None) != getattr(self._first.http, "fixed", None):
            changed.append("what [http] listens on and shows")
        self.config, self._waiting = fresh, changed
        routes.keep(list(fresh.senders.values()))
        line = "sms.conf was read again"
        if changed:
            line += f", but {' and '.join(changed)}: only a restart of the service changes that"
        return line, False


def block_signals() -> None:
    """Call this before any thread starts, so that only until_ended() takes them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def until_ended(reload: Callable[[], None]) -> str:
    """Wait for SIGTERM or SIGINT, and say which came; *reload* at SIGHUP.

    Not with sigtimedwait(): Python's returns any number once the process was stopped for longer
    than it was to wait, as a suspended host stops it.
    """
    while (received := signal.sigwait(SIGNALS)) == signal.SIGHUP:
        reload()
    return signal.Signals(received).name
