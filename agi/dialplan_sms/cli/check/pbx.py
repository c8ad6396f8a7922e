"""One PBX, as its senders reach it: name, connection, clock, certificate, API, credentials.

It is asked with an empty number, which it refuses once it accepts who asks: nothing is sent.
"""

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from dialplan_sms.cli.check import Finding, listed
from dialplan_sms.cli.check.certificate import CERTIFICATE, CLOCK, certificate, clock, refusal
from dialplan_sms.cli.check.conf import in_password
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.routes.pbx import CONNECT_TIME, SmsApi, failed
from dialplan_sms.routes.reply import PERHAPS
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms.sms import Sms
from dialplan_sms.transport import tls
from dialplan_sms.transport.connection import Pool, Resolver
from dialplan_sms.transport.exchange import Stage, Unreached, Watchdog

NAME = Finding("name")
CONNECTION = Finding("connection", ("name",))
API = Finding("SMS API", ("connection", "certificate"))
CREDENTIALS = Finding("credentials", ("SMS API",))
LENGTH = Finding("max_length")
LINES = (NAME, CONNECTION, CLOCK, CERTIFICATE, API, CREDENTIALS, LENGTH)
_NOT_TLS = "WRONG_VERSION_NUMBER HTTP_REQUEST PACKET_LENGTH_TOO_LONG RECORD_LAYER_FAILURE".split()
"""What OpenSSL says of a peer that speaks something else."""
_DATE_TIME, _WHOLE = 2.0, 9.0
"""Seconds that an answer with a Date may take, and one question to the SMS API."""
_OF_API = (Cause.UNAUTHORIZED, Cause.REJECTED)
"""The SMS API has answered, and so knows who asks or does not."""
_NOBODY = Sms(("",), "dialplan-sms check")
_BY_CURL = "not asked: a request by curl would be an SMS; dialplan-sms send sends one"
_NOTHING = b"POST / HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def each(config: Config, connect_time: float) -> list["PbxCheck"]:
    """The PBXs of sms.conf; senders of the same ``url`` and ``verify`` share one."""
    groups: dict[tuple[str, str, bool], list[Sender]] = {}
    for sender in config.senders.values():
        groups.setdefault((sender.url, sender.verify, sender.curl is None), []).append(sender)
    return [PbxCheck(of, Resolver(), connect_time, config.path) for of in groups.values()]


@dataclass(frozen=True)
class PbxCheck:
    """The PBX of *senders*, whose ``url`` and ``verify`` are the same; *conf* is their sms.conf."""

    senders: Sequence[Sender]
    resolver: Resolver = field(default_factory=Resolver)
    connect_time: float = CONNECT_TIME
    conf: Path = Path("sms.conf")

    @property
    def of(self) -> str:
        return listed([sender.name for sender in self.senders], 2)

    def check(self) -> Iterator[Finding]:
        """All lines of this PBX, and those of its senders."""
        for line in self._lines():
            needs = tuple(f"{name} {self.of}" for name in line.needs)
            do = re.sub(r"\burl\b", "the URL in curl", line.do) if self.senders[0].curl else line.do
            yield replace(line, of=line.of or self.of, needs=needs, do=do)

    def _lines(self) -> Iterator[Finding]:
        asked, url = self.senders[0], urlsplit(self.senders[0].url)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        peer = url.scheme, host, port, self.resolver
        yield self._name(host, port)
        seen = tls.look(*peer, self.connect_time)
        yield connection(f"{host} port {port}", seen, self.connect_time)
        outcome = self._ask(asked) if seen.failure is None else None
        if outcome is None:
            yield from (CLOCK, CERTIFICATE, API)
        else:
            now = time.time()
            theirs = None if asked.curl else self._their_clock(peer)
            yield clock(now, theirs, seen.certificate, refusal(outcome))
            yield certificate(asked, outcome, seen.certificate, now)
            yield from () if asked.curl else [sms_api(url, outcome)]
        if outcome is None or outcome.cause not in _OF_API:
            says = _BY_CURL if asked.curl else ""
            yield from (replace(CREDENTIALS, of=each.name, says=says) for each in self.senders)
        else:
            with ThreadPoolExecutor(8) as pool:
                outcomes = [outcome, *pool.map(self._ask, self.senders[1:])]
            for sender, outcome in zip(self.senders, outcomes, strict=True):
                yield credentials(sender, outcome, self.conf)
        yield from (length(sender) for sender in self.senders if sender.curl is None)

    def _name(self, host: str, port: int) -> Finding:
        try:
            found = self.resolver.resolve(host, port, self.connect_time)
        except TimeoutError:
            late = f"{host} was not resolved within {self.connect_time:.0f} s"
            return NAME.wrong(late, "check the name servers in /etc/resolv.conf")
        except OSError:
            cure = "correct url in sms.conf, or the DNS of this host"
            return NAME.wrong(f"{host} is unknown", cure)
        addresses = listed([*dict.fromkeys(str(each[4][0]) for each in found)])
        return NAME.ok(host if addresses == host else f"{host} = {addresses}")

    def _their_clock(self, peer: tuple[str, str, int, Resolver]) -> float | None:
        """The Date of an answer to a request of nothing, at no SMS API and without a password."""
        connect_by = time.monotonic() + self.connect_time
        pool = Pool(tls.peer(*peer), Watchdog(), connections=0)
        try:
            reply = pool.send(_NOTHING, 0, connect_by, _DATE_TIME, connect_by + _DATE_TIME)
            return parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
        except Exception:  # noqa: BLE001 - a PBX need not tell
            return None

    def _ask(self, sender: Sender) -> Outcome:
        until = time.monotonic() + _WHOLE
        try:
            route = SmsApi(sender, self.resolver, connections=0)
            if sender.curl is not None:
                route.pool.connect(until)
                return Outcome(Status.SUCCESS)
            return route.send(_NOBODY, until=until)
        except Unreached as failure:
            return failed(failure, sender)
        except ConfigError as error:
            return Outcome(Status.ERROR, Cause.CONFIG, str(error))


def connection(peer: str, seen: tls.Look, connect_time: float) -> Finding:
    failure, late = seen.failure, isinstance(seen.failure, TimeoutError)
    told = getattr(failure, "reason", "") or getattr(failure, "strerror", "")
    why, securing = str(told or type(failure).__name__)[:120], seen.stage is Stage.SECURING
    version = f", {seen.version}" if seen.version else ""
    return (
        (failure is None and CONNECTION.ok(f"{peer} in {seen.seconds * 1000:.0f} ms{version}"))
        or (securing and (late or why in _NOT_TLS) and CONNECTION.wrong(
            f"{peer} is open, but does not speak TLS: {why}",
            "url with http, or the port of https"))
        or (securing and CONNECTION.wrong(
            f"no TLS with {peer}: {why}",
            "the PBX must know TLS 1.2 or newer, with a key that is safe"))
        or (late and CONNECTION.wrong(
            f"no answer from {peer} within {connect_time:.0f} s",
            "a firewall drops it, or the PBX is off: allow TCP to it; check url"))
        or (isinstance(failure, ConnectionRefusedError) and CONNECTION.wrong(
            f"nothing listens on {peer}",
            "correct the port in url, or start the PBX's web server"))
        or CONNECTION.wrong(
            f"no way to {peer}: {why}", "check url, network and routes of this host")
    )  # fmt: skip


def sms_api(url: SplitResult, outcome: Outcome) -> Finding:
    """Whether the answer is the SMS API's."""
    cause, reason = outcome.cause, _without_doubt(outcome.reason).partition(" - perhaps")[0]
    https = "does url need https? or " if url.scheme == "http" else ""
    said = outcome.status if outcome.status is not Status.ERROR else cause
    redirect = re.search(r"redirects to (\S+)", reason)
    target = urlsplit(redirect[1] if redirect else "")
    moved, short = f"{target.scheme}://{target.netloc}", reason.partition(" - ")[0]
    without_path = f"url without a path: {api.PATH} is added"
    return (
        (refusal(outcome) and API)
        or (cause in _OF_API and API.ok(url.path))
        or (cause is Cause.NO_ANSWER and API.wrong(
            reason, f"{https}is the PBX overloaded, or another server on this port?"))
        or (cause is Cause.UNREACHABLE and API.wrong(reason, "check again once it does"))
        or (cause is not Cause.BAD_ANSWER and API.wrong(
            f"{said} for a request without a number: this is not the PBX's API",
            "correct url in sms.conf"))
        or (target.netloc and not url.geturl().startswith(f"{moved}/") and API.wrong(
            short, f"url = {moved}"))
        or (redirect and API.wrong(short, without_path))
        or ("HTTP 404" in reason and API.wrong(
            f"HTTP 404, no SMS API at {url.path}", without_path))
        or ("HTTP 5" in reason and API.wrong(reason, "see the PBX's own logs; a proxy in between?"))
        or API.wrong(reason, "correct url in sms.conf: address, port, a proxy in between?")
    )  # fmt: skip


def credentials(sender: Sender, outcome: Outcome, conf: Path) -> Finding:
    """What the answer to a request with an empty number says about who asks, as *conf* has it."""
    line, reason = replace(CREDENTIALS, of=sender.name), outcome.reason
    refused, said = outcome.cause is Cause.UNAUTHORIZED, reason.rpartition(" - ")[2]
    slip = in_password(conf, sender.password) if refused else ""
    return (
        (refused and sender.token and line.wrong(
            f"the PBX refuses this token: {said}", f"a valid token in [{sender.name}]"))
        or (refused and line.wrong(
            f"the PBX refuses user {sender.name} and this password: {said}",
            f"{slip}{'; else ' if slip else ''}[{sender.name}] must be the PBX user; correct its"
            " password, or use token if the PBX takes no basic authorization"))
        or (outcome.cause is not Cause.REJECTED and line.wrong(
            _without_doubt(reason), "check again"))
        or (reason.lower() == api.EMPTY_NUMBER.lower() and line.ok(
            "accepted (asked without a number, nothing sent)"))
        or line.warning(
            f"neither accepted nor refused, the PBX says: {reason[:150]}",
            "try an SMS from the web Collaboration as this user")
    )  # fmt: skip


def length(sender: Sender) -> Finding:
    """Whether the PBX can take what sms.conf lets through; what it takes, it does not tell."""
    line, most = replace(LENGTH, of=sender.name), sender.max_length
    since = ", needs WMS 6.02.20230306.1 or newer" if most > api.OLD_MAX_LENGTH else ""
    return (most > api.MAX_LENGTH and line.warning(
        f"{most} characters, and no PBX takes more than {api.MAX_LENGTH}",
        f"max_length = {api.MAX_LENGTH} in [{sender.name}]",
    )) or line.ok(f"{most} characters{since}")  # fmt: skip


def _without_doubt(reason: str) -> str:
    """Nothing was sent here, whatever a reason says of an SMS."""
    return re.sub(rf"[:,]? {PERHAPS}", "", reason)
