"""One PBX, as its senders reach it: name, connection, clock, certificate, API, credentials.

It is asked with an empty number, which it refuses once it accepts who asks: nothing is sent.
"""

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from dialplan_sms.cli.check import Finding, first, listed
from dialplan_sms.cli.check.certificate import CERTIFICATE, CLOCK, certificate, clock, refusal
from dialplan_sms.cli.check.conf import in_password
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.routes.pbx import CONNECT_TIME, PERHAPS, SmsApi
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport import tls
from dialplan_sms.transport.connection import Pool, Resolver
from dialplan_sms.transport.exchange import Stage, Watchdog
from dialplan_sms.transport.tls import Look, look

NAME = Finding("name")
CONNECTION = Finding("connection", ("name",))
API = Finding("SMS API", ("connection", "certificate"))
CREDENTIALS = Finding("credentials", ("SMS API",))
LENGTH = Finding("max_length")
LINES = (NAME, CONNECTION, CLOCK, CERTIFICATE, API, CREDENTIALS, LENGTH)
_NOT_TLS = (
    "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE",
)  # fmt: skip
"""What OpenSSL says of a peer that speaks something else."""
_AT_ONCE = 8
_DATE_TIME = 2.0
"""Seconds that an answer with a Date may take."""
_WHOLE = 9.0
"""Seconds that one question to the SMS API may take."""
_NOBODY = Sms(("",), "dialplan-sms check")
_NOTHING = b"POST / HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def each(config: Config, connect_time: float) -> list["PbxCheck"]:
    """The PBXs of sms.conf; senders of the same ``url`` and ``verify`` share one."""
    groups: dict[tuple[str, str], list[Sender]] = {}
    for sender in config.senders.values():
        groups.setdefault((sender.url, sender.verify), []).append(sender)
    return [PbxCheck(of, connect_time=connect_time, conf=config.path) for of in groups.values()]


class PbxCheck:
    """The PBX of *senders*, whose ``url`` and ``verify`` are the same."""

    def __init__(
        self, senders: Sequence[Sender], resolver: Resolver | None = None,
        connect_time: float = CONNECT_TIME, conf: Path = Path("sms.conf"),
    ) -> None:  # fmt: skip
        self._senders, self._connect_time, self._conf = senders, connect_time, conf
        self.of = listed([sender.name for sender in senders], 2)
        self._url = urlsplit(senders[0].url)
        self._host = self._url.hostname or ""
        self._port = self._url.port or (443 if self._url.scheme == "https" else 80)
        self._resolver = resolver or Resolver()
        self._peer = self._url.scheme, self._host, self._port, self._resolver

    def check(self) -> Iterator[Finding]:
        """All lines of this PBX, and those of its senders."""
        for line in self._lines():
            needs = tuple(f"{name} {self.of}" for name in line.needs)
            yield replace(line, of=line.of or self.of, needs=needs)

    def _lines(self) -> Iterator[Finding]:
        yield self._name()
        seen = look(*self._peer, self._connect_time)
        yield self._connection(seen)
        asked = self._senders[0]
        outcome = self._ask(asked) if seen.failure is None else None
        if outcome is None:
            yield from (CLOCK, CERTIFICATE, API)
        else:
            now = time.time()
            yield clock(now, self._their_clock(), seen.certificate, refusal(outcome))
            yield certificate(asked, outcome, seen.certificate, now)
            yield self._api(outcome)
        if outcome is None or not _is_of_api(outcome):
            yield from (replace(CREDENTIALS, of=sender.name) for sender in self._senders)
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                outcomes = [outcome, *pool.map(self._ask, self._senders[1:])]
            for sender, outcome in zip(self._senders, outcomes, strict=True):
                yield credentials(sender, outcome, self._conf)
        yield from map(length, self._senders)

    def _name(self) -> Finding:
        try:
            found = self._resolver.resolve(self._host, self._port, self._connect_time)
        except TimeoutError:
            return NAME.wrong(
                f"{self._host} was not resolved within {self._connect_time:.0f} s",
                "check the name servers in /etc/resolv.conf",
            )
        except OSError:
            return NAME.wrong(
                f"{self._host} is unknown", "correct url in sms.conf, or the DNS of this host"
            )
        every = list(dict.fromkeys(str(address[4][0]) for address in found))
        return NAME.ok(" = ".join(dict.fromkeys([self._host, listed(every)])))

    def _connection(self, seen: Look) -> Finding:
        peer, failure = f"{self._host} port {self._port}", seen.failure
        if failure is None:
            version = f", {seen.version}" if seen.version else ""
            return CONNECTION.ok(f"{peer} in {seen.seconds * 1000:.0f} ms{version}")
        told = getattr(failure, "reason", "") or getattr(failure, "strerror", "")
        why, late = str(told or type(failure).__name__)[:120], isinstance(failure, TimeoutError)
        securing = seen.stage is Stage.SECURING
        return first(
            (securing and (late or why in _NOT_TLS), CONNECTION.wrong(
                f"{peer} is open, but does not speak TLS: {why}",
                "url with http, or the port of https")),
            (securing, CONNECTION.wrong(
                f"no TLS with {peer}: {why}",
                "the PBX must know TLS 1.2 or newer, with a key that is safe")),
            (late, CONNECTION.wrong(
                f"no answer from {peer} within {self._connect_time:.0f} s",
                "a firewall drops it, or the PBX is off: allow TCP to it; check url")),
            (isinstance(failure, ConnectionRefusedError), CONNECTION.wrong(
                f"nothing listens on {peer}",
                "correct the port in url, or start the PBX's web server")),
        ) or CONNECTION.wrong(
            f"no way to {peer}: {why}", "check url, network and routes of this host"
        )  # fmt: skip

    def _their_clock(self) -> float | None:
        """The Date of an answer to a request of nothing, at no SMS API and without a password."""
        connect_by = time.monotonic() + self._connect_time
        until = connect_by + _DATE_TIME
        pool = Pool(tls.peer(*self._peer), Watchdog(), connections=0)
        try:
            reply = pool.send(_NOTHING, 0, connect_by, _DATE_TIME, until)
            return parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
        except Exception:  # noqa: BLE001 - a PBX need not tell
            return None

    def _ask(self, sender: Sender) -> Outcome:
        try:
            route = SmsApi(sender, self._resolver, connections=0)
            return route.send(_NOBODY, until=time.monotonic() + _WHOLE)
        except ConfigError as error:
            return Outcome(Status.ERROR, Cause.CONFIG, str(error))

    def _api(self, outcome: Outcome) -> Finding:
        """Whether the answer is the SMS API's."""
        url, cause = self._url.geturl(), outcome.cause
        reason = _without_doubt(outcome.reason).partition(" - perhaps")[0]
        https = "does url need https? or " if self._url.scheme == "http" else ""
        said = outcome.status if outcome.status is not Status.ERROR else cause
        redirect = cause is Cause.BAD_ANSWER and re.search(r"redirects to (\S+)", reason)
        target = urlsplit(redirect[1] if redirect else "")
        moved = f"{target.scheme}://{target.netloc}"
        without_path = f"url without a path: {api.PATH} is added"
        return first(
            (refusal(outcome), API),
            (_is_of_api(outcome), API.ok(self._url.path)),
            (cause is Cause.NO_ANSWER, API.wrong(
                reason, f"{https}is the PBX overloaded, or another server on this port?")),
            (cause is Cause.UNREACHABLE, API.wrong(reason, "check again once it does")),
            (cause is not Cause.BAD_ANSWER, API.wrong(
                f"{said} for a request without a number: this is not the PBX's API",
                "correct url in sms.conf")),
            (target.netloc and not url.startswith(f"{moved}/"), API.wrong(
                reason.partition(" - ")[0], f"url = {moved}")),
            (redirect, API.wrong(reason.partition(" - ")[0], without_path)),
            ("HTTP 404" in reason, API.wrong(
                f"HTTP 404, no SMS API at {self._url.path}", without_path)),
            ("HTTP 5" in reason, API.wrong(reason, "see the PBX's own logs; a proxy in between?")),
        ) or API.wrong(
            reason, "correct url in sms.conf: address, port, a proxy in between?"
        )  # fmt: skip


def _is_of_api(outcome: Outcome) -> bool:
    """Whether the SMS API has answered, and so knows who asks or does not."""
    return outcome.cause in (Cause.UNAUTHORIZED, Cause.REJECTED)


def credentials(sender: Sender, outcome: Outcome, conf: Path) -> Finding:
    """What the answer to a request with an empty number says about who asks, as *conf* has it."""
    line, reason = replace(CREDENTIALS, of=sender.name), outcome.reason
    refused, said = outcome.cause is Cause.UNAUTHORIZED, reason.rpartition(" - ")[2]
    slip = in_password(conf, sender.password) if refused else ""
    hint = f"{slip}; else " if slip else ""
    return first(
        (refused and sender.token, line.wrong(
            f"the PBX refuses this token: {said}", f"a valid token in [{sender.name}]")),
        (refused, line.wrong(
            f"the PBX refuses user {sender.name} and this password: {said}",
            f"{hint}[{sender.name}] must be the PBX user; correct its password, or use token if the"
            " PBX takes no basic authorization")),
        (outcome.cause is not Cause.REJECTED, line.wrong(_without_doubt(reason), "check again")),
        (reason.lower() == api.EMPTY_NUMBER.lower(), line.ok(
            "accepted (asked without a number, nothing sent)")),
    ) or line.warning(
        f"neither accepted nor refused, the PBX says: {reason[:150]}",
        "try an SMS from the web Collaboration as this user",
    )  # fmt: skip


def length(sender: Sender) -> Finding:
    """Whether the PBX can take what sms.conf lets through; what it takes, it does not tell."""
    line, most = replace(LENGTH, of=sender.name), sender.max_length
    since = ", needs WMS 6.02.20230306.1 or newer" if most > api.OLD_MAX_LENGTH else ""
    return first(
        (most > api.MAX_LENGTH, line.warning(
            f"{most} characters, and no PBX takes more than {api.MAX_LENGTH}",
            f"max_length = {api.MAX_LENGTH} in [{sender.name}]")),
    ) or line.ok(f"{most} characters{since}")  # fmt: skip


def _without_doubt(reason: str) -> str:
    """Nothing was sent here, whatever a reason says of an SMS."""
    return re.sub(rf"[:,]? {PERHAPS}", "", reason)
