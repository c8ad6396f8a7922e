"""What a service counts: Prometheus metrics, and figures for ``status``."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dialplan_sms import __version__
from dialplan_sms.agi.capacity import Capacity
from dialplan_sms.sms import log
from dialplan_sms.sms.sms import Handled

if TYPE_CHECKING:
    from dialplan_sms.outbox.history.statistics import Overview

    See = Callable[[], Overview | None]

_KEPT = 1000  # calls that rates and latencies are computed from
_ERRORS = 10
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics(Collector):
    """Counts the calls of a service; thread-safe, and cheap for a call that reports to it.

    *stored* gives how the outbox is, as it was seen last: it costs nothing. *ask* looks at it.
    *conf* says which sms.conf is in force (LiveConfig.state).
    """

    def __init__(
        self,
        capacity: Capacity,
        idle_connections: Callable[[], int] = lambda: 0,
        stored: "See | None" = None,
        ask: "See | None" = None,
        conf: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._capacity = capacity
        self._stored = stored
        self._ask = ask or stored
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
        if stored is not None:
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
        if self._ask is None:
            return None
        seen = self._ask()
        done = {
            "by_workers": _counts(self._worker_sms),
            "last_failures": list(self._failures),
        }
        if seen is None:
            return {"works": False, **done}
        return {
            "works": True,
            "stored": dict(seen.counts),
            "due": seen.due,
            "oldest_seconds": seen.oldest,
            "next_try_seconds": seen.next_try,
            "oldest_due_seconds": seen.waits,
            "held": dict(seen.held),
            "held_seconds": dict(seen.held_for),
            **done,
        }

    def collect(self) -> Iterable[Metric]:
        """How the outbox is, as gauges; the others are those of the registry."""
        seen = self._stored() if self._stored else None
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
