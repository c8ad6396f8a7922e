"""The HTTP SMS server, where sms.conf has [http]: whether each of its addresses answers."""

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from enum import StrEnum

from dialplan_sms.cli.check.certificate import is_loopback
from dialplan_sms.cli.check.finding import Finding, ok, wrong
from dialplan_sms.cli.check.service import SERVICE, UNIT
from dialplan_sms.config.http import Http

HTTP = "HTTP"
_PATIENCE = 3.0
_LARGEST = 1 << 20
_TITLE = "dialplan-sms"
"""What web/relay/openapi.py is titled."""
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to
_RESTART = f"the service runs with an older sms.conf? systemctl restart {UNIT}"
_OTHER = f"{_RESTART}; else another program listens there: another listen in [http]"


class _Seen(StrEnum):
    """What answers at one address."""

    OURS = "is dialplan-sms"
    NOBODY = "nothing listens"
    LATE = "no answer"
    CLOSED = "the connection was closed"
    OTHER = "is not what [http] describes"


def check(http: Http) -> Iterator[Finding]:
    """One line for all addresses; nobody logs in, and nothing is sent."""
    tls = bool(http.certificate)
    scheme = "https" if tls else "http"
    seen: list[str] = []
    for host, port in http.listen:
        peer = f"{host} port {port}"
        target = _ANY.get(host, host)
        found = _ask(target, port, tls)
        if found is _Seen.CLOSED and not is_loopback(target):
            found = _Seen.OURS  # it answers those in allow only, which this host need not be
        if found is not _Seen.OURS:
            yield wrong(HTTP, *_why(found, peer, scheme), needs=[SERVICE])
            return
        seen.append(peer)
    yield ok(HTTP, f"{', '.join(seen)}, {scheme}")


def _why(found: _Seen, peer: str, scheme: str) -> tuple[str, str]:
    """What is wrong, and what to do."""
    if found is _Seen.NOBODY:
        return f"nothing listens on {peer}", _RESTART
    if found is _Seen.LATE:
        says = f"no answer on {peer} within {_PATIENCE:.0f} s"
        return says, f"systemctl restart {UNIT}; then journalctl -u {UNIT} -n 20"
    return f"what answers on {peer} is not the HTTP SMS server by {scheme}", _OTHER


def _ask(host: str, port: int, tls: bool) -> _Seen:
    with contextlib.closing(_connection(host, port, tls)) as connection:
        try:
            connection.connect()
            connection.request("GET", "/openapi.json")
            answer = connection.getresponse()
            described = json.loads(answer.read(_LARGEST))
            ours = answer.status == 200 and described["info"]["title"] == _TITLE
        except TimeoutError:
            return _Seen.LATE
        except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):  # RemoteDisconnected, too
            return _Seen.CLOSED
        except (ssl.SSLError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return _Seen.OTHER
        except OSError:
            return _Seen.NOBODY
    return _Seen.OURS if ours else _Seen.OTHER


def _connection(host: str, port: int, tls: bool) -> http.client.HTTPConnection:
    if not tls:
        return http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    # Whose certificate it is, clients judge: its names need not be this address.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=context)
