"""Stage "relay": our HTTP SMS server beside Kannel, the same client and the same API behind.

Kannel calls no fsync: what it has accepted is gone with the power.
"""

import json
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dialplan_sms.sms import api
from tests import postgres
from tests.bench import nginx
from tests.bench.measure import Meter
from tests.bench.peers import PEERS, POSTGRESQL, Peer, Site
from tests.children import free_ports
from tests.tools import Tools, obtain

_DRAIN = 90.0  # seconds that the delivery of the rest may take
_ASKED = re.compile(r"^ \d+ \d+ (\d+) $", re.MULTILINE)
_SERVER = """\
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{answer}'; }}
        location = /status {{ stub_status; }}
    }}
"""


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


class Bench:
    """The API behind all peers, and their rounds; each starts with an empty store."""

    def __init__(self, folder: Path, tools: Tools, server: postgres.Postgres | None) -> None:
        self._folder = folder
        self._tools = tools
        self._postgres = server
        self._api, self._nobody = free_ports(2)
        self._rounds = self._asked = 0

    @contextmanager
    def api(self) -> Iterator[None]:
        """Have the API answer."""
        servers = _SERVER.format(port=self._api, answer=json.dumps(api.result()))
        with nginx.start(nginx.obtain(), self._folder, servers, self._api):
            yield

    def round(self, peer: Peer, connections: int, delivers: bool, seconds: int) -> RelayRow:
        """Have wrk ask for so long, then wait until all is delivered."""
        with peer.running(self._site(delivers)) as running:
            meter = Meter({peer.key: running.pids})
            before, sent, began = meter.read()[peer.key], self._sent(), time.monotonic()
            told = self._wrk(running.script, running.url, connections, seconds)
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
        site = self._site(delivers)
        strace = self._tools.command("usr/bin/strace")
        options = ["-ff", "-qq", "-e", "trace=fsync,fdatasync", "-o", f"{site.folder}/trace"]
        with peer.running(replace(site, traced=[*strace, *options])) as running:
            asked = self._wrk(running.script, running.url, connections, 1)["requests"]
        said = "".join(path.read_text(errors="replace") for path in site.folder.glob("trace.*"))
        return said.count("sync(") / max(1, asked)

    def _site(self, delivers: bool) -> Site:
        self._rounds += 1
        folder = self._folder / f"round_{self._rounds}"
        folder.mkdir()
        port = self._api if delivers else self._nobody
        return Site(folder, port, self._tools, self._postgres)

    def _wrk(self, script: Path, url: str, connections: int, seconds: int) -> dict[str, int]:
        command = [
            *self._tools.command("usr/bin/wrk"), "-t", "1", "-c", str(connections),
            "-d", f"{seconds}s", "--timeout", "20s", "-s", str(script), url,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _sent(self) -> int:
        """Requests that the API has answered, but for those that asked for this."""
        self._asked += 1
        with urllib.request.urlopen(f"http://127.0.0.1:{self._api}/status") as answer:
            found = _ASKED.search(answer.read().decode())
        assert found is not None
        return int(found[1]) - self._asked


def run(
    connections: Sequence[int], rounds: int, seconds: int, say: Callable[[str], None]
) -> tuple[dict[Key, RelayRow], str]:
    """Medians of interleaved rounds, and Kannel's version; without PostgreSQL if there is none.

    wrk asks for so many *seconds* in a round.

    Raises AsteriskUnavailable and NginxUnavailable if what it needs cannot be had.
    """
    tools = obtain(say)
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
        for key in [key for key in rows if key[1] == max(connections) and key[0] != "postgresql"]:
            peer = next(each for each in peers if each.key == key[0])
            rows[key] = replace(rows[key], fsyncs=bench.fsyncs(peer, key[1], key[2]))
        return rows, tools.kannel


def _median(rows: Sequence[RelayRow]) -> RelayRow:
    names = ("accepted", "delivered", "cpu", "p50", "p99")
    middle = {name: statistics.median(getattr(row, name) for row in rows) for name in names}
    return replace(rows[0], **middle, lost=sum(row.lost for row in rows))
