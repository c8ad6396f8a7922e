"""The gateways of stage "relay": Kannel as Debian starts it, and ours; and their client, wrk."""

import base64
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.config.http import make_hash
from dialplan_sms.sms import api
from tests import kannel
from tests.children import Child, free_ports
from tests.kannel import PASSWORD, USER
from tests.postgres import Postgres
from tests.tools import Tools

_PROGRAM = Path(sys.prefix) / "bin/dialplan-sms"
_LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_FORM = f"""{{
  ["Authorization"] = "Basic {_LOGIN}", ["Content-Type"] = "application/x-www-form-urlencoded"
}}"""
_SMS_CONF = """\
[general]
outbox = {outbox}
log = {folder}/sms.log
default_sender = 101
listen = 127.0.0.1:{fastagi}
workers = {workers}

[101]
url = http://127.0.0.1:{api}
password = sms101api
gsm = 9c7514330001
pace = 0s

[http]
listen = 127.0.0.1:{http}
user = 101:{hash}
"""
# Each SMS has a number of its own: the same one again and again would be a loop.
_WRK = """\
local sent = 0
local path, body, headers = "{path}", "{body}", {headers}
request = function()
  sent = sent + 1
  local number = string.format("%%2B3933%07d", sent)
  if body == "" then return wrk.format("GET", path .. number, headers) end
  return wrk.format("POST", path, headers, body .. number)
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{{"requests":%d,"us":%d,"p50":%d,"p99":%d,"errors":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Running:
    """A peer that takes SMS at *url*, as the *script* of wrk sends them."""

    url: str
    script: Path
    pids: Sequence[int]


@dataclass(frozen=True)
class Site:
    """Where a peer is started: an empty *folder*, the *api*'s port, *traced* programs."""

    folder: Path
    api: int
    tools: Tools
    postgres: Postgres | None
    traced: Sequence[str] = ()


Start = Callable[[Site, ExitStack], Running]


@dataclass(frozen=True)
class Peer:
    """A gateway that is measured."""

    key: str
    title: str
    start: Start

    @contextmanager
    def running(self, site: Site) -> Iterator[Running]:
        """Started with an empty store, and ended."""
        with ExitStack() as stack:
            yield self.start(site, stack)


def _kannel(site: Site, stack: ExitStack) -> Running:
    send_url = f"http://127.0.0.1:{site.api}{api.PATH}?number=%p&message=%b"
    port, pids = kannel.start(stack, site.folder, site.tools, send_url, site.traced)
    path = f"/cgi-bin/sendsms?username={USER}&password={PASSWORD}&text=Hello+from+102&to="
    return Running(f"http://127.0.0.1:{port}", _script(site, path), pids)


def _ours(outbox: str, serving: int, working: int = 0) -> Start:
    """Ours with so many threads that send in `serve`, and in a `worker` beside it if any."""

    def start(site: Site, stack: ExitStack) -> Running:
        url = f"sqlite:///{site.folder}/outbox.sqlite"
        if outbox == "postgresql":
            assert site.postgres is not None
            url = site.postgres.create_database(site.folder.name)
            stack.callback(site.postgres.drop_database, site.folder.name)
        fastagi, http = free_ports(2)
        environment = {"DIALPLAN_SMS_SOCKET": str(site.folder / "agi.sock")}
        pids = []
        for command, workers in (("serve", serving), ("worker", working)):
            if command == "worker" and not workers:
                continue
            conf = site.folder / f"{command}.conf"
            conf.touch(0o600)
            conf.write_text(_SMS_CONF.format(
                outbox=url, folder=site.folder, fastagi=fastagi, workers=workers, api=site.api,
                http=http, hash=make_hash(PASSWORD),
            ))  # fmt: skip
            run = [*site.traced, str(_PROGRAM), command, "--config", str(conf)]
            pids.append(
                stack.enter_context(Child(run, http, site.folder / command, environment)).pid
            )
        script = _script(site, api.PATH, "message=Hello+from+102&number=", _FORM)
        return Running(f"http://127.0.0.1:{http}", script, pids)

    return start


def _script(site: Site, path: str, body: str = "", headers: str = "{}") -> Path:
    script = site.folder / "wrk.lua"
    script.write_text(_WRK.format(path=path, body=body, headers=headers))
    return script


KANNEL = Peer("kannel", "Kannel", _kannel)
SQLITE = Peer("sqlite", "ours, SQLite", _ours("sqlite", 8))
TWO = Peer("worker", "ours, SQLite, serve and a worker", _ours("sqlite", 0, 8))
POSTGRESQL = Peer("postgresql", "ours, PostgreSQL", _ours("postgresql", 8))
PEERS = (KANNEL, SQLITE, TWO, POSTGRESQL)
