"""Stage "relay": our HTTP SMS server beside Kannel, the same client and the same API behind.

Kannel runs as Debian starts it. It calls no fsync: what it has accepted is gone with the power.
"""

import base64
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dialplan_sms.config.http import make_hash
from dialplan_sms.sms import api
from tests import kannel, postgres
from tests.bench import servers
from tests.bench.measure import Meter
from tests.children import Child, free_ports
from tests.kannel import PASSWORD, USER
from tests.tools import Tools

_DRAIN = 90.0  # seconds that the delivery of the rest may take
_ASKED = re.compile(r"^ \d+ \d+ (\d+) $", re.MULTILINE)
_SERVER = """\
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{answer}'; }}
        location = /status {{ stub_status; }}
    }}
"""
_PROGRAM = Path(sys.prefix) / "bin/dialplan-sms"
_LOGIN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_FORM = '["Content-Type"] = "application/x-www-form-urlencoded"'
_KANNELS = (
    f"/cgi-bin/sendsms?username={USER}&password={PASSWORD}&text=Hello+from+102&to=", "", "{}",
)  # fmt: skip
_OURS = (
    api.PATH, "message=Hello+from+102&number=", f'{{["Authorization"] = "Basic {_LOGIN}", {_FORM}}}',
)  # fmt: skip
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
class Peer:
    """A gateway that is measured; of ours, the threads that send in `serve` and in a `worker`."""

    key: str
    title: str
    serving: int = 0
    working: int = 0


KANNEL = Peer("kannel", "Kannel")
SQLITE = Peer("sqlite", "ours, SQLite", 8)
TWO = Peer("worker", "ours, SQLite, serve and a worker", 0, 8)
POSTGRESQL = Peer("postgresql", "ours, PostgreSQL", 8)
PEERS = (KANNEL, SQLITE, TWO, POSTGRESQL)


@dataclass(frozen=True)
class RelayRow:
    """One peer at so many connections: messages a second, milliseconds, *cpu* of its processes.

    *delivers* is whether the API is in reach; *fsyncs* are those a message, if they were counted.
    """

    peer: str
    title: str
    connections: int
    delivers: bool
    accepted: float
    delivered: float
    cpu: float
    p50: float
    p99: float
    lost: int
    fsyncs: float | None = None


Key = tuple[str, int, bool]
"""Peer, connections, whether it delivers."""


@dataclass(frozen=True)
class Running:
    """A peer that takes SMS at *port*, as the script of wrk in its *folder* sends them."""

    folder: Path
    port: int
    pids: list[int]


class Bench:
    """The API behind all peers, and their rounds; each starts with an empty store."""

    def __init__(self, folder: Path, tools: Tools, server: postgres.Postgres | None) -> None:
        self._folder = folder
        self._tools = tools
        self._postgres = server
        self._api, self._nobody = free_ports(2)
        self._rounds = self._asked = 0

    def api(self) -> Child:
        """The API, to be entered."""
        text = _SERVER.format(port=self._api, answer=servers.ANSWER)
        return servers.nginx(self._tools, self._folder, text, self._api)

    def round(self, peer: Peer, connections: int, delivers: bool, seconds: int) -> RelayRow:
        """Have wrk ask for so long, then wait until all is delivered."""
        with self._running(peer, delivers) as running:
            meter = Meter({peer.key: running.pids})
            before, sent, began = meter.read()[peer.key], self._sent(), time.monotonic()
            told = self._wrk(running, connections, seconds)
            delivered, asked = 0, max(1, told["requests"])
            while delivers and delivered < asked and time.monotonic() < began + seconds + _DRAIN:
                time.sleep(0.02)
                delivered = self._sent() - sent
            took = time.monotonic() - began
            cpu = meter.read()[peer.key] - before
        lost = told["errors"] + (max(0, asked - delivered) if delivers else 0)
        return RelayRow(
            peer.key, peer.title, connections, delivers, asked / told["us"] * 1e6,
            delivered / took, cpu / asked, told["p50"] / 1000, told["p99"] / 1000, lost,
        )  # fmt: skip

    def fsyncs(self, peer: Peer, connections: int, delivers: bool) -> float:
        """Calls of fsync and fdatasync a message, in a round of its own: it is slower."""
        with self._running(peer, delivers, traced=True) as running:
            asked = self._wrk(running, connections, 1)["requests"]
        said = "".join(path.read_text(errors="replace") for path in running.folder.glob("trace.*"))
        return said.count("sync(") / max(1, asked)

    @contextmanager
    def _running(self, peer: Peer, delivers: bool, traced: bool = False) -> Iterator[Running]:
        """Started with an empty store, by strace if it is to be *traced*, and ended."""
        self._rounds += 1
        folder = self._folder / f"round_{self._rounds}"
        folder.mkdir()
        port = self._api if delivers else self._nobody
        options = ["-ff", "-qq", "-e", "trace=fsync,fdatasync", "-o", f"{folder}/trace"]
        through = [*self._tools.command("usr/bin/strace"), *options] if traced else []
        with ExitStack() as stack:
            if peer is KANNEL:
                send_url = f"http://127.0.0.1:{port}{api.PATH}?number=%p&message=%b"
                at, pids = kannel.start(stack, folder, self._tools, send_url, through)
            else:
                at, pids = self._ours(peer, stack, folder, port, through)
            path, body, headers = _KANNELS if peer is KANNEL else _OURS
            script = _WRK.format(path=path, body=body, headers=headers)
            (folder / "wrk.lua").write_text(script)
            yield Running(folder, at, pids)

    def _ours(
        self, peer: Peer, stack: ExitStack, folder: Path, port: int, through: list[str]
    ) -> tuple[int, list[int]]:
        """The port of its HTTP SMS server, and its processes."""
        url = f"sqlite:///{folder}/outbox.sqlite"
        if peer is POSTGRESQL:
            assert self._postgres is not None
            url = self._postgres.create_database(folder.name)
            stack.callback(self._postgres.drop_database, folder.name)
        fastagi, http = free_ports(2)
        environment = {"DIALPLAN_SMS_SOCKET": f"{folder}/agi.sock"}
        commands = {"serve": peer.serving} | ({"worker": peer.working} if peer.working else {})
        pids = []
        for command, workers in commands.items():
            conf = folder / f"{command}.conf"
            conf.touch(0o600)
            conf.write_text(_SMS_CONF.format(
                outbox=url, folder=folder, fastagi=fastagi, workers=workers, api=port,
                http=http, hash=make_hash(PASSWORD),
            ))  # fmt: skip
            run = [*through, str(_PROGRAM), command, "--config", str(conf)]
            pids.append(stack.enter_context(Child(run, http, folder / command, environment)).pid)
        return http, pids

    def _wrk(self, running: Running, connections: int, seconds: int) -> dict[str, int]:
        command = (
            *self._tools.command("usr/bin/wrk"), "-t", "1", "-c", str(connections),
            "-d", f"{seconds}s", "--timeout", "20s", "-s", f"{running.folder}/wrk.lua",
            f"http://127.0.0.1:{running.port}",
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _sent(self) -> int:
        """Requests that the API has answered, but for those that asked for this."""
        self._asked += 1
        with urllib.request.urlopen(f"http://127.0.0.1:{self._api}/status") as answer:
            (found,) = _ASKED.findall(answer.read().decode())
        return int(found) - self._asked


def run(
    tools: Tools, connections: Sequence[int], rounds: int, seconds: int, say: Callable[[str], None]
) -> dict[Key, RelayRow]:
    """Medians of interleaved rounds; without PostgreSQL if there is none.

    wrk asks for so many *seconds* in a round.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-", dir="/tmp")))
        server, peers = None, list(PEERS)
        try:
            server = stack.enter_context(postgres.temporary())
        except postgres.PostgresUnavailable:
            peers.remove(POSTGRESQL)
        bench = Bench(folder, tools, server)
        stack.enter_context(bench.api())
        found: dict[Key, list[RelayRow]] = {}
        for number in range(rounds):
            for each in connections:
                for delivers in (False, True):
                    for peer in peers:
                        say(f"relay, {each} connections, round {number + 1}: {peer.title}")
                        row = bench.round(peer, each, delivers, seconds)
                        found.setdefault((peer.key, each, delivers), []).append(row)
        rows = {key: _median(several) for key, several in found.items()}
        for key, row in rows.items():
            if row.connections == max(connections) and row.peer != POSTGRESQL.key:
                (peer,) = [each for each in PEERS if each.key == row.peer]
                rows[key] = replace(row, fsyncs=bench.fsyncs(peer, *key[1:]))
        return rows


def _median(rows: Sequence[RelayRow]) -> RelayRow:
    names = ("accepted", "delivered", "cpu", "p50", "p99")
    middle = {name: statistics.median(getattr(row, name) for row in rows) for name in names}
    return replace(rows[0], **middle, lost=sum(row.lost for row in rows))
