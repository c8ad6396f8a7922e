"""How a service is: what it counts, and its address ``monitor``, which tells that.

/metrics has it for Prometheus, /status for ``status``, and /healthz says whether all is well.
"""

import io
import json
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dialplan_sms import __version__
from dialplan_sms.agi.acceptors import Peer
from dialplan_sms.agi.doors import Capacity
from dialplan_sms.host.address import bare, is_loopback
from dialplan_sms.sms import log
from dialplan_sms.sms.sms import Handled

if TYPE_CHECKING:
    from dialplan_sms.daemon.storage import Storage

_KEPT = 1000  # calls that rates and latencies are computed from
_ERRORS = 10
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONGEST_HEAD = 16 * 1024
_PATIENCE = 5.0  # seconds that an asker has to take its answer
_TEXT = "text/plain"


class Metrics(Collector):
    """Counts the calls of a service; thread-safe, and cheap for a call that reports to it.

    Of *storage*, ``seen`` costs nothing, and ask() looks. *conf* says which sms.conf is in force
    (LiveConfig.state).
    """

    def __init__(
        self,
        capacity: Capacity,
        idle_connections: Callable[[], int] = lambda: 0,
        storage: "Storage | None" = None,
        conf: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._capacity = capacity
        self._storage = storage
        self._conf = conf
        self._started = time.time()
        # Appended to and copied in one step each, so that they need no lock.
        self._recent: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._errors: deque[str] = deque(maxlen=_ERRORS)
        self._failures: deque[str] = deque(maxlen=_ERRORS)
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "dialplan_sms_calls", "Calls by outcome", ("status", "cause"), registry=self.registry
        )
        self._seconds = Histogram(
            "dialplan_sms_call_seconds",
            "Seconds of a call",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        for name, what, read in (
            ("in_flight", "Calls under way", lambda: capacity.in_flight),
            ("max_calls", "Calls that are carried at once over FastAGI", lambda: capacity.most),
            ("oldest_call_seconds", "Age of the oldest call under way", lambda: capacity.oldest),
            ("idle_connections", "Connections to PBXs that wait for an SMS", idle_connections),
        ):
            Gauge(f"dialplan_sms_{name}", what, registry=self.registry).set_function(read)
        if storage is not None:
            self._worker_sms = Counter(
                "dialplan_sms_worker_sms",
                "Stored SMS by what workers brought them to; again: a try that is repeated",
                ("state",),
                registry=self.registry,
            )
            self.registry.register(self)

    def called(self, handled: Handled) -> None:
        """Count one call."""
        outcome = handled.outcome
        self._calls.labels(outcome.status, outcome.cause).inc()
        self._seconds.observe(handled.seconds)
        self._recent.append((time.time(), handled.seconds))
        if log.is_failure(outcome):
            self._errors.append(_line(handled))

    def worked(self, state: str, count: int = 1, handled: Handled | None = None) -> None:
        """Count stored SMS that a worker brought to *state*, with the request that did so."""
        if handled is not None and log.is_failure(handled.outcome):
            self._failures.append(_line(handled))
        elif state == "pending":
            return  # the rest of a list goes on
        self._worker_sms.labels("again" if state == "pending" else state).inc(count)

    def figures(self) -> Mapping[str, Any]:
        """What ``dialplan-sms status`` shows; latencies in seconds over the last 1000 calls."""
        now, recent = time.time(), list(self._recent)
        latencies = sorted(seconds for _, seconds in recent)
        return {
            "version": __version__,
            "uptime": now - self._started,
            "calls": _counts(self._calls),
            "last_minute": sum(when > now - 60 for when, _ in recent),
            "in_flight": self._capacity.in_flight,
            "max_calls": self._capacity.most,
            "sms_conf": self._conf(),
            "p50": latencies[len(latencies) // 2] if latencies else None,
            "p99": latencies[len(latencies) * 99 // 100] if latencies else None,
            "last_errors": list(self._errors),
            "outbox": self._outbox(),
        }

    def _outbox(self) -> Mapping[str, Any] | None:
        if self._storage is None:
            return None
        seen = self._storage.ask()
        found = (
            {}
            if seen is None
            else {
                "stored": dict(seen.counts),
                "due": seen.due,
                "oldest_seconds": seen.oldest,
                "next_try_seconds": seen.next_try,
                "oldest_due_seconds": seen.waits,
                "held": dict(seen.held),
                "held_seconds": dict(seen.held_for),
            }
        )
        return {
            "works": seen is not None,
            **found,
            "by_workers": _counts(self._worker_sms),
            "last_failures": list(self._failures),
        }

    def collect(self) -> Iterable[Metric]:
        """How the outbox is, as gauges; the others are those of the registry."""
        seen = self._storage.seen if self._storage else None
        yield GaugeMetricFamily(
            "dialplan_sms_outbox_works", "1 if the outbox can be used", seen is not None
        )
        if seen is None:
            return
        yield GaugeMetricFamily(
            "dialplan_sms_oldest_due_seconds",
            "Age of the oldest SMS that a worker could take",
            seen.waits,
        )
        stored = GaugeMetricFamily("dialplan_sms_stored", "SMS that wait", labels=["state"])
        for state, count in seen.counts.items():
            stored.add_metric([state], count)
        yield stored
        held = GaugeMetricFamily(
            "dialplan_sms_held", "Senders whose SMS all wait", labels=["sender", "cause"]
        )
        for of in seen.held.items():
            held.add_metric(of, 1)
        yield held


def _line(handled: Handled) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {log.describe(handled)}"


def _counts(counter: Counter) -> dict[str, int]:
    """What *counter* has counted, by its labels."""
    return {
        " ".join(filter(None, sample.labels.values())): int(sample.value)
        for sample in next(iter(counter.collect())).samples
        if sample.name.endswith("_total")
    }


class Monitor:
    """Lets everybody in, and answers *most* at once; figures only to who asks this host by name."""

    most = 8

    def __init__(self, metrics: Metrics, healthy: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._healthy = healthy
        self._capacity = Capacity(self.most)

    def __call__(self, connection: socket.socket, address: Any) -> Peer:
        """A request, once its head is there."""
        return Peer(connection, self._serve, self._capacity.call, address[0], _LONGEST_HEAD)

    def _serve(self, peer: Peer, objection: str) -> None:
        stream, written = peer.answer(time.monotonic() + _PATIENCE), io.BytesIO()
        request = _Request(stream.paragraph(_LONGEST_HEAD), written)
        if request.parse_request():  # which else has answered
            request.answer(*self._answer(request, objection))
        stream.write(written.getvalue())

    def _answer(self, request: "_Request", objection: str) -> tuple[int, str, bytes]:
        if objection:
            return 503, _TEXT, b"busy\n"
        if request.path == "/healthz":
            return (200, _TEXT, b"ok\n") if self._healthy() else (503, _TEXT, b"stuck\n")
        if request.path not in ("/metrics", "/status"):
            return 404, _TEXT, b"/metrics, /healthz, /status\n"
        if not is_loopback(bare(request.headers.get("Host", ""))):
            return 421, _TEXT, b"This is for this host alone: ask it by the name localhost\n"
        if request.path == "/metrics":
            return 200, "text/plain; version=0.0.4", generate_latest(self._metrics.registry)
        return 200, "application/json", json.dumps(self._metrics.figures()).encode()


class _Request(BaseHTTPRequestHandler):
    """The standard library's reading of a head and writing of an answer, without its server."""

    def __init__(self, head: bytes, written: io.BytesIO) -> None:
        self.rfile, self.wfile = io.BytesIO(head), written
        self.raw_requestline = self.rfile.readline()

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: what a peer asks is not for our log."""
