"""The running service: its sms.conf, which can change, its signals, its doors, its end."""

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dialplan_sms.agi import doors
from dialplan_sms.agi.acceptors import Acceptors, Door
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.daemon.monitor import Metrics, Monitor
from dialplan_sms.host.installation import cure
from dialplan_sms.routes.pbx import Routes
from dialplan_sms.sms.service import Service, Store

if TYPE_CHECKING:
    from dialplan_sms.daemon.storage import Storage
    from dialplan_sms.web.smsserver import SmsServer

DRAIN = 20.0  # seconds that calls under way have to end after SIGTERM
# Seconds that a call may exceed the longest call_timeout before the service calls itself stuck.
_STUCK = 60.0
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
        but = f", but {' and '.join(changed)}: only a restart of the service changes that"
        return f"sms.conf was read again{but if changed else ''}", False


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


class Server:
    """The doors around one Service. Raises ConfigError for sms.conf."""

    def __init__(self, path: Path) -> None:
        self._live = LiveConfig(path)
        config = self._live.config
        self._capacity = doors.Capacity(config.max_calls)
        self._routes = Routes(config.max_calls)
        self._storage = _open_storage(config.outbox) if config.outbox else None
        self._metrics = Metrics(
            self._capacity, lambda: self._routes.idle_connections, self._storage, self._live.state
        )
        self._service = Service(
            self._live, self._routes, watch=self._metrics, store=self._store, records=True
        )

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises ConfigError, and OSError (with a text for people) if it cannot listen.
        """
        with contextlib.ExitStack() as closing:
            self._open(closing)
            addresses = ", ".join(f"{host} port {port}" for host, port in self._live.config.listen)
            self._service.note(f"service started on {addresses}", failed=False)
            _notify("READY=1")
            received = until_ended(lambda: self._service.note(*self._live.reload(self._routes)))
            _notify("STOPPING=1")
            self._service.note(f"service ends: {received}", failed=False)

    def _open(self, closing: contextlib.ExitStack) -> None:
        """Open all; *closing* closes it in the opposite order."""
        config, capacity, repeated = self._live.config, self._capacity, self._service.repeated
        closing.callback(repeated.sum_up, 0)
        if self._storage is not None:
            closing.callback(self._storage.stop)
        closing.callback(self._drain)
        fastagi = doors.FastAgi(self._service, capacity, config.allow)
        monitor = Monitor(self._metrics, self._is_healthy)
        opened: list[tuple[socket.socket | None, Door, int]] = [
            (doors.listen_tcp(address, optional=address == ("::1", 4573)), fastagi, capacity.most)
            for address in config.listen
        ]
        http = None
        if config.http is not None and self._storage is not None:
            http = _open_http(self._service, self._live, self._storage)
            closing.callback(http.stop, DRAIN)
        socket_file = Path(os.environ.get(doors.SOCKET_VARIABLE) or doors.SOCKET)
        scripts = doors.HandOver(self._service, capacity)
        opened.append((doors.listen_unix(socket_file), scripts, capacity.most + capacity.reserve))
        closing.callback(_remove, socket_file)  # which is ours only now
        # The last: who can be asked takes calls.
        opened += [(doors.listen_tcp(address), monitor, monitor.most) for address in config.monitor]
        config.drop_privileges()  # all that may need root's rights is open
        acceptors = Acceptors(capacity.most, repeated)
        closing.callback(acceptors.stop)
        for listener, door, most in opened:
            if listener is not None:
                acceptors.open(listener, door, most)
        threading.Thread(target=self._tick, name="ticker", daemon=True).start()
        if self._storage is not None:
            self._storage.start(self._service)
            closing.callback(self._storage.halt, DRAIN)
        if http is not None:
            http.start()
        gc.collect()
        gc.freeze()  # what is here now stays; the collector need not look at it again

    def _drain(self) -> None:
        """Let the calls under way end."""
        if not self._capacity.drain(DRAIN):
            self._service.note(f"service ends with {self._capacity.in_flight} calls under way")

    def _store(self, _: Config) -> Store:
        assert self._storage is not None, "the configuration has no outbox"  # noqa: S101
        return self._storage.outbox

    def _is_healthy(self) -> bool:
        """Whether every call keeps its deadline."""
        return self._capacity.oldest < self._service.longest + _STUCK

    def _tick(self) -> None:
        # A third of what systemd allows (WATCHDOG_USEC), in seconds.
        interval = min(int(os.environ.get("WATCHDOG_USEC") or 30_000_000) / 3_000_000, 10.0)
        while True:
            time.sleep(interval)
            self._service.repeated.sum_up()
            if self._is_healthy():
                _notify("WATCHDOG=1")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _open_storage(url: str) -> "Storage":
    from dialplan_sms.daemon.storage import Storage
    from dialplan_sms.outbox.database import OutboxError

    try:
        return Storage(url)
    except OutboxError as error:
        raise ConfigError(str(error)) from None


def _open_http(service: Service, live: LiveConfig, storage: "Storage") -> "SmsServer":
    try:
        from dialplan_sms.web.smsserver import SmsServer
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"[http] of sms.conf needs the Python package {error.name}:"
            f" {cure(Path(sys.prefix), ['http'])}"
        ) from None
    return SmsServer(service, live, storage.outbox)


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), if it asks to be told."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
