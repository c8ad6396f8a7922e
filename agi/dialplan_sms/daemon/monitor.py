"""How a service is: what it counts, and its address ``monitor``, which tells that."""

import io
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from http.client import parse_headers
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dialplan_sms import __version__
from dialplan_sms.agi.acceptors import Door, Peer
from dialplan_sms.agi.doors import Capacity
from dialplan_sms.agi.stream import PARAGRAPH
from dialplan_sms.host.address import bare, is_loopback
from dialplan_sms.sms import log
from dialplan_sms.sms.outcome import Refused, Status
from dialplan_sms.sms.sms import Handled

if TYPE_CHECKING:
    from dialplan_sms.daemon.storage import Storage

MOST_ASKERS = 8  # that are answered at once
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONGEST_HEAD = 16 * 1024
_PATIENCE = 5.0  # seconds that an asker has to take its answer
_TEXT = "text/plain"


class Metrics(Collector):
    """Counts the calls of a service, thread-safe; *conf* says which sms.conf is in force."""

    def __init__(
        self,
        capacity: Capacity,
        idle_connections: Callable[[], int] = lambda: 0,
        storage: "Storage | None" = None,
        conf: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._capacity = capacity
        self._idle_connections = idle_connections
        self._storage = storage
        self._conf = conf
        self._started = time.time()
        # Appended to and copied in one step each, so that they need no lock.
        self._recent: deque[tuple[float, float]] = deque(maxlen=1000)
        self._errors: deque[str] = deque(maxlen=10)
        self._failures: deque[str] = deque(maxlen=10)
        self.registry = registry = CollectorRegistry()
        registry.register(self)
        self._calls = Counter(
            "dialplan_sms_calls", "Calls by outcome", ("status", "cause"), registry=registry
        )
        self._seconds = Histogram(
            "dialplan_sms_call_seconds", "Seconds of a call", buckets=_BUCKETS, registry=registry
        )
        self._worker_sms = Counter(
            "dialplan_sms_worker_sms",
            "Stored SMS by what workers brought them to; again: a try that is repeated",
            ("state",),
            registry=registry if storage else None,
        )

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
        if state == "pending" and (handled is None or handled.outcome.status is Status.SUCCESS):
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
        told = {
            "by_workers": _counts(self._worker_sms),
            "last_failures": list(self._failures),
            "on_failure": list(self._storage.failing.values()),
        }
        seen = self._storage.ask()
        if seen is None:
            return {"works": False} | told
        return told | {
            "works": True,
            "stored": dict(seen.counts),
            "due": seen.due,
            "oldest_seconds": seen.oldest,
            "next_try_seconds": seen.next_try,
            "oldest_due_seconds": seen.waits,
            "held": dict(seen.held),
            "held_seconds": dict(seen.held_for),
        }

    def collect(self) -> Iterable[Metric]:
        """What is so now, as gauges; what is counted is in the registry by itself."""
        calls, idle = self._capacity, self._idle_connections()
        # Name, help, names of the labels, and values by those of the labels.
        gauges: list[tuple[str, str, Sequence[str], Mapping[tuple[str, ...], float]]] = [
            ("in_flight", "Calls under way", (), {(): calls.in_flight}),
            ("max_calls", "Calls that are carried at once over FastAGI", (), {(): calls.most}),
            ("oldest_call_seconds", "Age of the oldest call under way", (), {(): calls.oldest}),
            ("idle_connections", "Connections to PBXs that wait for an SMS", (), {(): idle}),
        ]
        if self._storage is not None:
            seen = self._storage.seen
            gauges.append(("outbox_works", "1 if the outbox can be used", (), {(): bool(seen)}))
            if seen is not None:
                gauges += [
                    ("oldest_due_seconds", "Age of the oldest SMS that a worker could take", (),
                     {(): seen.waits}),
                    ("stored", "SMS that wait", ("state",),
                     {(state,): count for state, count in seen.counts.items()}),
                    ("held", "Senders whose SMS all wait", ("sender", "cause"),
                     dict.fromkeys(seen.held.items(), 1)),
                ]  # fmt: skip
        for name, what, labels, values in gauges:
            gauge = GaugeMetricFamily(f"dialplan_sms_{name}", what, labels=labels)
            for of, value in values.items():
                gauge.add_metric(of, value)
            yield gauge


def _line(handled: Handled) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')} {log.describe(handled)}"


def _counts(counter: Counter) -> dict[str, int]:
    """What *counter* has counted, by its labels."""
    return {
        " ".join(filter(None, sample.labels.values())): int(sample.value)
        for sample in next(iter(counter.collect())).samples
        if sample.name.endswith("_total")
    }


def monitor(metrics: Metrics, is_healthy: Callable[[], bool]) -> Door:
    """Lets everybody in; tells figures only to who asks this host by name."""

    def answer(path: str, host: str) -> tuple[int, str, bytes]:
        match path:
            case "/healthz":
                return (200, _TEXT, b"ok\n") if is_healthy() else (503, _TEXT, b"stuck\n")
            case "/metrics" | "/status" if not is_loopback(bare(host)):
                return 421, _TEXT, b"This is for this host alone: ask it by the name localhost\n"
            case "/metrics":
                return 200, "text/plain; version=0.0.4", generate_latest(metrics.registry)
            case "/status":
                return 200, "application/json", json.dumps(metrics.figures()).encode()
        return 404, _TEXT, b"/metrics, /healthz, /status\n"

    def serve(peer: Peer, _: Refused | None) -> None:
        stream = peer.answer(time.monotonic() + _PATIENCE)
        line, _newline, rest = stream.up_to(PARAGRAPH, _LONGEST_HEAD).partition(b"\n")
        words = line.decode("latin-1").split()
        status, kind, body = 400, _TEXT, b"this is no HTTP\n"
        if len(words) == 3 and words[2].startswith("HTTP/"):
            host = parse_headers(io.BytesIO(rest)).get("Host", "")
            status, kind, body = answer(words[1], host)
        head = (
            f"HTTP/1.0 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        stream.write(head.encode() + body)

    return lambda connection, address: Peer(
        connection, serve, lambda: nullcontext(True), address[0], _LONGEST_HEAD
    )
