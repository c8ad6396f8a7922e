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
from dialplan_sms.daemon.monitor import MOST_ASKERS, Metrics, monitor
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
        return self.config

    def state(self) -> Mapping[str, Any]:
        """Which file is in force, in which version, and what of it waits for a restart."""
        path = os.path.abspath(self._path)
        return {"path": path, "version": self.config.version, "waiting": self._waiting}

    def reload(self, routes: Routes) -> tuple[str, bool]:
        """Read sms.conf again; a line that says what came of it, and whether that is a failure."""
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

    Not with sigtimedwait(): Python's returns any number after a suspension of the host.
    """
    while (received := signal.sigwait(SIGNALS)) == signal.SIGHUP:
        reload()
    return signal.Signals(received).name


def run_service(path: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, and OSError (its text for people)."""
    live = LiveConfig(path)
    config = live.config
    capacity, routes = doors.Capacity(config.max_calls), Routes(config.max_calls)
    storage = None
    if config.outbox:
        from dialplan_sms.daemon.storage import Storage

        storage = Storage(config.outbox)
    metrics = Metrics(capacity, lambda: routes.idle_connections, storage, live.state)

    def store(_: Config) -> Store:
        assert storage is not None, "the configuration has no outbox"  # noqa: S101
        return storage.outbox

    service = Service(live, routes, watch=metrics, store=store, records=True)

    def is_healthy() -> bool:
        return capacity.oldest < service.longest + _STUCK

    def drain() -> None:
        if not capacity.drain(DRAIN):
            service.note(f"service ends with {capacity.in_flight} calls under way")

    with contextlib.ExitStack() as closing:  # what is opened is closed in the opposite order
        closing.callback(service.repeated.sum_up, 0)
        if storage is not None:
            closing.callback(storage.stop)
        closing.callback(drain)
        fastagi = doors.fastagi(service, capacity, config.allow)
        opened: list[tuple[socket.socket | None, Door, int]] = [
            (doors.listen_tcp(address, optional=address == ("::1", 4573)), fastagi, capacity.most)
            for address in config.listen
        ]
        http = None
        if config.http is not None and storage is not None:
            http = _open_http(service, live, storage)
            closing.callback(http.stop, DRAIN)
        socket_file = Path(os.environ.get(doors.SOCKET_VARIABLE) or doors.SOCKET)
        scripts = doors.hand_over(service, capacity)
        opened.append((doors.listen_unix(socket_file), scripts, capacity.most + capacity.reserve))
        closing.callback(_remove, socket_file)  # which is ours only now
        # The last: who can be asked takes calls.
        asked = monitor(metrics, is_healthy)
        opened += [(doors.listen_tcp(address), asked, MOST_ASKERS) for address in config.monitor]
        config.drop_privileges()  # all that may need root's rights is open
        acceptors = Acceptors(capacity.most, service.repeated)
        closing.callback(acceptors.stop)
        for listener, door, most in opened:
            if listener is not None:
                acceptors.open(listener, door, most)
        threading.Thread(
            target=_tick, args=(service, is_healthy), name="ticker", daemon=True
        ).start()
        if storage is not None:
            storage.start(service)
            closing.callback(storage.halt, DRAIN)
        if http is not None:
            http.start()
        gc.collect()
        gc.freeze()  # what is here now stays; the collector need not look at it again
        addresses = ", ".join(f"{host} port {port}" for host, port in config.listen)
        service.note(f"service started on {addresses}", failed=False)
        _notify("READY=1")
        received = until_ended(lambda: service.note(*live.reload(routes)))
        _notify("STOPPING=1")
        service.note(f"service ends: {received}", failed=False)


def _tick(service: Service, is_healthy: Callable[[], bool]) -> None:
    # A third of what systemd allows (WATCHDOG_USEC), in seconds.
    interval = min(int(os.environ.get("WATCHDOG_USEC") or 30_000_000) / 3_000_000, 10.0)
    while True:
        time.sleep(interval)
        service.repeated.sum_up()
        if is_healthy():
            _notify("WATCHDOG=1")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


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
