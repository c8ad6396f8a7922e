"""One PBX, as its senders reach it: name, connection, clock, certificate, API, credentials."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

from dialplan_sms.cli.check import certificate as certificates
from dialplan_sms.cli.check.certificate import CERTIFICATE, CLOCK, is_loopback
from dialplan_sms.cli.check.finding import Finding, ok, skipped, warning, wrong
from dialplan_sms.cli.check.look import Eye, Look
from dialplan_sms.cli.check.verdict import CREDENTIALS, judge, length, no_api
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.routes.pbx import CONNECT_TIME, SmsApi, open_pool
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport.exchange import Stage
from dialplan_sms.transport.resolver import Address, Resolver

NAME, CONNECTION, API = "name", "connection", "SMS API"
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
)
"""What OpenSSL says of a peer that speaks something else."""
_AT_ONCE = 8
_WHOLE = 9.0
"""Seconds that one question to the SMS API may take."""
_NOBODY = Sms(("",), "dialplan-sms check")
"""A request with an empty number: once the PBX accepts who asks, it refuses that."""


class Pbx:
    """The PBX of *senders*, whose ``url`` and ``verify`` are the same; *now* is our clock."""

    def __init__(
        self,
        senders: Sequence[Sender],
        now: Callable[[], float] = time.time,
        resolver: Resolver | None = None,
        connect_time: float = CONNECT_TIME,
    ) -> None:
        self._senders = senders
        self._first = senders[0]
        names = [sender.name for sender in senders]
        more = f" and {len(names) - 2} more" if len(names) > 3 else ""
        self._of = ", ".join(names[:2] if more else names) + more
        parts = urlsplit(self._first.url)
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._now = now
        self._resolver = resolver or Resolver()
        self._connect_time = connect_time

    def check(self) -> Iterator[Finding]:
        """All lines of this PBX, and those of its senders."""
        yield self._name()
        look = Eye(self._scheme, self._host, self._port, self._connect_time, self._resolver).look()
        yield self._connection(look)
        outcome = self._ask(self._first) if look.failure is None else None
        yield from self._trust(look, outcome)
        yield self._api(outcome)
        yield from self._credentials(outcome)
        for sender in self._senders:
            yield length(sender)

    def _needs(self, *names: str) -> tuple[str, ...]:
        return tuple(f"{name} {self._of}" for name in names)

    def _name(self) -> Finding:
        try:
            found = self._resolver.resolve(self._host, self._port, self._connect_time)
        except OSError as error:
            if isinstance(error, TimeoutError):
                says = f"{self._host} was not resolved within {self._connect_time:.0f} s"
                return wrong(NAME, says, "check the name servers in /etc/resolv.conf", self._of)
            says = f"{self._host} is unknown"
            return wrong(NAME, says, "correct url in sms.conf, or the DNS of this host", self._of)
        addresses = _addresses(found)
        return ok(
            NAME,
            self._host if addresses == [self._host] else f"{self._host} = {', '.join(addresses)}",
            self._of,
        )

    def _connection(self, look: Look) -> Finding:
        peer = f"{self._host} port {self._port}"
        if look.failure is None:
            tls = f", {look.tls}" if look.tls else ""
            return ok(CONNECTION, f"{peer} in {look.seconds * 1000:.0f} ms{tls}", self._of)
        needs = self._needs(NAME)
        if look.stage is Stage.SECURING:
            says, do = _no_tls(peer, look.failure)
            return wrong(CONNECTION, says, do, self._of, needs)
        if isinstance(look.failure, TimeoutError):
            says = f"no answer from {peer} within {self._connect_time:.0f} s"
            do = "a firewall drops it, or the PBX is off: allow TCP to it; check url"
            return wrong(CONNECTION, says, do, self._of, needs)
        if isinstance(look.failure, ConnectionRefusedError):
            says = f"nothing listens on {peer}"
            return wrong(
                CONNECTION,
                says,
                "correct the port in url, or start the PBX's web server",
                self._of,
                needs,
            )
        says = f"no way to {peer}: {_short(look.failure)}"
        return wrong(
            CONNECTION, says, "check url, network and routes of this host", self._of, needs
        )

    def _ask(self, sender: Sender) -> Outcome:
        try:
            with closing(open_pool(sender, self._resolver)) as pool:
                return SmsApi(sender, pool).send(_NOBODY, until=time.monotonic() + _WHOLE)
        except ConfigError as error:
            return Outcome(Status.ERROR, Cause.CONFIG, str(error))

    def _trust(self, look: Look, outcome: Outcome | None) -> Iterator[Finding]:
        if look.failure is not None or outcome is None:
            yield skipped(CLOCK, "", self._of, self._needs(CONNECTION))
            yield skipped(CERTIFICATE, "", self._of, self._needs(CONNECTION))
            return
        reason = outcome.reason if outcome.cause in (Cause.UNREACHABLE, Cause.CONFIG) else ""
        found, now = look.certificate, self._now()
        yield certificates.judge_clock(
            self._of, now, look.theirs, found, certificates.for_dates(reason)
        )
        needs = self._needs(CLOCK)
        if self._scheme == "http":
            if is_loopback(self._host):
                yield ok(CERTIFICATE, "none needed: http on this host", self._of)
            else:
                says = "http: whoever is between this host and the PBX can read the password"
                yield warning(CERTIFICATE, says, f"url = https://{self._host}", self._of)
        elif outcome.cause is Cause.CONFIG:
            yield wrong(CERTIFICATE, reason, "verify = a file in PEM format", self._of, needs)
        elif found is not None:
            yield certificates.judge(self._first, self._of, self._host, found, now, reason, needs)

    def _api(self, outcome: Outcome | None) -> Finding:
        needs = self._needs(CONNECTION, CERTIFICATE)
        if outcome is None or outcome.cause in (Cause.UNREACHABLE, Cause.CONFIG):
            return skipped(API, "", self._of, needs)
        path = urlsplit(self._first.url).path
        if outcome.cause in (Cause.UNAUTHORIZED, Cause.REJECTED):
            return ok(API, path, self._of)
        says, do = no_api(outcome, self._first.url)
        return wrong(API, says, do, self._of, needs)

    def _credentials(self, first: Outcome | None) -> Iterator[Finding]:
        asked = first is not None and first.cause in (Cause.UNAUTHORIZED, Cause.REJECTED)
        if first is None or not asked:
            for sender in self._senders:
                yield skipped(CREDENTIALS, "", sender.name, self._needs(API))
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            others = pool.map(self._ask, self._senders[1:])
            for sender, outcome in zip(self._senders, [first, *others], strict=True):
                yield judge(sender, outcome)


def _no_tls(peer: str, failure: Exception) -> tuple[str, str]:
    why = _short(failure)
    if isinstance(failure, TimeoutError) or why in _NOT_TLS:
        return (
            f"{peer} is open, but does not speak TLS: {why}",
            "url with http, or the port of https",
        )
    return (
        f"no TLS with {peer}: {why}",
        "the PBX must know TLS 1.2 or newer, with a key that is safe",
    )


def _addresses(found: Iterable[Address]) -> list[str]:
    every = list(dict.fromkeys(str(address[4][0]) for address in found))
    return every if len(every) < 4 else [*every[:3], f"{len(every) - 3} more"]


def _short(failure: Exception) -> str:
    return str(
        getattr(failure, "reason", "") or getattr(failure, "strerror", "") or type(failure).__name__
    )[:120]
