"""From 0.1.0's own package to this tree's, under a real systemd, with SMS in every state.

Its service is still running while the files change under it, and is killed with SMS under way.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.outbox.schema import VERSION as TABLES
from dialplan_sms.sandbox.pbx import GATEWAYS
from tests.packaging import released as release
from tests.packaging.booted import Booted
from tests.packaging.released import Released
from tests.packaging.root import ENVIRONMENT, Output, need
from tests.packaging.standin import PASSWORD, StandIn
from tests.packaging.test_booted import UNIT, main_pid, wait
from tests.unit.process import Asterisk
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SCRIPT = "/usr/share/asterisk/agi-bin/sms.agi"
FIRST_LINE = "#!/usr/lib/dialplan-sms/bin/python3 -IS\n"
OUTBOX = "var/spool/asterisk/sms/outbox.sqlite"
NUMBER = "+39333123456"
MANY = ",".join(f"+39333123456{n}" for n in range(10, 30))
"""So many that the service waits for an answer for 100 s."""
WORKS, ONCE, AT_MOST, SHUT, AWAY = "101", "201", "202", "203", "204"
"""Senders, whose PBX works, answers the first two requests never, opens no TLS, is out of reach."""
SENDERS = (WORKS, ONCE, AT_MOST, SHUT, AWAY)
TOMORROW = f"{datetime.now() + timedelta(days=1):%d/%m/%Y} 15:35"
CONF = f"""
[general]
outbox = sqlite:////{OUTBOX}
default_sender = {WORKS}
password = {PASSWORD}
country = IT
pace = 0s
call_timeout = 120
long_message = truncate

[{WORKS}]
url = http://127.0.0.1:8080
gsm = {GATEWAYS[0]}
[{ONCE}]
url = http://127.0.0.1:8081
[{AT_MOST}]
url = http://127.0.0.1:8081
delivery = at-most-once
[{SHUT}]
url = https://127.0.0.1:8082
verify = no
[{AWAY}]
url = http://127.0.0.1:8083
postpone = pbx
"""
HTTP = "\n[http]\npage = yes\n"
SILENT = "import socket, time; s = socket.create_server(('127.0.0.1', 8082)); time.sleep(600)"
FASTAGI = """
import json, select, sys
from tests.unit.caller import Call
while not select.select([sys.stdin], [], [], 0)[0]:
    print(json.dumps(Call(4573).end()), flush=True)
"""
"""Calls over FastAGI, one after the other, until its standard input is closed."""
POST = """
import base64, urllib.parse, urllib.request
data = urllib.parse.urlencode({"number": "+39333123456", "message": "by HTTP"}).encode()
url = "http://127.0.0.1:4575/api/v1/originate/sms"
login = {"Authorization": "Basic " + base64.b64encode(b"wms:private").decode()}
print(urllib.request.urlopen(urllib.request.Request(url, data, login)).read().decode())
"""


class Pbx:
    """A host with 0.1.0's package and its service."""

    def __init__(self, system: Booted) -> None:
        self.system = system

    def call(self, text: str, **variables: str) -> dict[str, str]:
        """What a call of Asterisk's user by sms.agi leaves; what it says elsewhere is ``stderr``."""
        command, *words = self.system.command(SCRIPT, user="asterisk")
        session = Asterisk(Path(command), Path("/etc/asterisk"), *words)
        session.variables |= {"SMS_MESSAGE": text, **variables}
        try:
            return session.serve().variables | {"stderr": session.errors}
        finally:
            session.close()

    def queue(self, sender: str, text: str, number: str = NUMBER, postpone: str = "") -> int:
        """Store one; its id."""
        said = self.call(
            text, SMS_MODE="queue", SMS_SENDER=sender, SMS_NUMBER=number, SMS_POSTPONE=postpone
        )
        assert said["SMS_STATUS"] == "QUEUED", said
        return int(said["SMS_ID"])

    def stored(self) -> dict[int, dict[str, Any]]:
        """Everything in the outbox, as its command shows it."""
        shown = self.system.run("dialplan-sms", "outbox", "--json", "--most", "9999")
        return {each["id"]: each for each in json.loads(shown)}

    def show(self, id_: int) -> dict[str, Any]:
        """One SMS as the command shows it."""
        shown: dict[str, Any] = json.loads(
            self.system.run("dialplan-sms", "outbox", "show", "--json", "--text", str(id_))
        )
        return shown

    def states(self, ids: list[int]) -> list[str]:
        """Looked at from outside, since a command takes too long."""
        path = self.system.path / OUTBOX
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as outbox:
            found = dict(outbox.execute("SELECT id, state FROM sms_message").fetchall())
        return [found[id_] for id_ in ids]

    def wait(self, ids: list[int], *states: str) -> None:
        """Until they are in these states, all at once."""
        until(
            lambda: self.states(ids) == list(states),
            lambda: (self.states(ids), self.journal()[-3000:]),
            90,
        )

    def journal(self) -> str:
        """What the service and systemd said of it."""
        return self.system.run("journalctl", "--no-pager", "--output=cat", "--unit", UNIT)


class Calls:
    """Calls without a pause, by script and over FastAGI, while it is entered."""

    def __init__(self, pbx: Pbx) -> None:
        self.scripts: list[dict[str, str]] = []
        self.fastagi: list[dict[str, str]] = []
        self._pbx = pbx

    def __enter__(self) -> "Calls":
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        self._process = subprocess.Popen(
            self._pbx.system.outside(sys.executable, "-c", FASTAGI), env=ENVIRONMENT,
            cwd=release.TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        said, _err = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        self.fastagi = [json.loads(line) for line in said.splitlines()]

    def _call(self) -> None:
        while not self._over.is_set():
            mode = ("wait", "queue")[len(self.scripts) % 2]
            text = f"call {len(self.scripts)}"
            self.scripts.append(self._pbx.call(text, SMS_MODE=mode) | {"text": text})


@dataclass
class Seen:
    """What was seen of an upgrade, for the tests."""

    pbx: Pbx
    calls: Calls
    before: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What 0.1.0's command showed of the outbox."""
    after: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What this tree's command shows of it."""
    meanwhile: dict[str, Output] = field(default_factory=dict)
    """Commands of the new files, while the old service runs."""
    late: dict[str, dict[str, str]] = field(default_factory=dict)
    """Calls to the old service, once the files are new."""
    kept: list[dict[str, Any]] = field(default_factory=list)
    """The postponed SMS, before and after."""
    taken: Counter[str] = field(default_factory=Counter)
    """What the stand-ins took, by text."""
    postponed: list[Any] = field(default_factory=list)
    """Until when the PBX was told to keep one."""
    pids: list[str] = field(default_factory=list)
    """The old service's process, before and while its files are others."""


@pytest.fixture(scope="module")
def seen(released_deb: Path, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """An upgrade in the middle of everything."""
    need()
    folder = tmp_path_factory.mktemp("upgrade")
    system = Booted("bookworm+systemd")
    with ExitStack() as stack:
        stack.callback(system.close)
        shutil.copy(released_deb, system.path / "root/old.deb")
        shutil.copy(deb, system.path / "root/new.deb")
        pbx = Pbx(system)
        seen = Seen(pbx, Calls(pbx))

        def stand_in(port: int, *options: str) -> StandIn:
            return stack.enter_context(StandIn(system, folder, port, SENDERS, *options))

        system.run("dpkg", "--install", "/root/old.deb")
        user = system.run("dialplan-sms", "user", "wms", stdin="private\n").splitlines()[0]
        system.write("/etc/asterisk/sms.conf", f"{CONF}{HTTP}{user}\n", 0o640, "asterisk")
        stand_ins = [
            stand_in(8080, "--no-tls"),
            stand_in(8081, "--no-tls", "--fault", "taken-hang:2"),
        ]
        silent = subprocess.Popen(system.outside(sys.executable, "-c", SILENT))
        stack.callback(silent.kill)
        system.run("systemctl", "enable", "--now", UNIT)
        wait(system, "active")
        seen.pids.append(main_pid(system))
        kept = pbx.queue(WORKS, "kept here", NUMBER, TOMORROW)
        seen.kept.append(pbx.show(kept))
        seen.before = pbx.stored()

        with seen.calls:
            time.sleep(1)
            system.run("dpkg", "--unpack", "/root/new.deb")
            time.sleep(1)
        seen.pids.append(main_pid(system))
        _call_the_old_service(seen)
        if TABLES == 1:  # else they change the tables, and it takes nothing more from them
            _run_the_new_commands(seen)

        ids = [
            pbx.queue(ONCE, "at least once", MANY),
            pbx.queue(AT_MOST, "at most once", MANY),
            pbx.queue(SHUT, "leased"),
            pbx.queue(AWAY, "for a PBX that is away"),
            pbx.queue(AWAY, "kept by the PBX", NUMBER, TOMORROW),
        ]
        pbx.wait(ids, "sending", "sending", "leased", "pending", "pending")
        system.run("systemctl", "kill", "--signal=KILL", UNIT)
        silent.kill()
        silent.wait(10)
        stand_ins += [stand_in(8082), stand_in(8083, "--no-tls")]

        system.run("dpkg", "--configure", "dialplan-sms")
        wait(system, "active")
        pbx.wait(ids, "sent", "unknown", "sent", "sent", "sent")
        seen.kept.append(pbx.show(kept))
        seen.after = pbx.stored()
        for each in stand_ins:
            seen.taken += each.taken
        seen.postponed = [m["postpone"] for m in stand_ins[-1].messages if m["postpone"]]
        yield seen


def _call_the_old_service(seen: Seen) -> None:
    """The files are new, and it has not used some of what it imports late."""
    pbx = seen.pbx
    seen.late = {
        "national": pbx.call("national", SMS_NUMBER="333 123 4567"),
        "long": pbx.call("long " + "e\u0301\U0001f469\u200d\U0001f467" * 400),
        "abroad": pbx.call("abroad", SMS_NUMBER="+12025550123", SMS_SENDER=WORKS),
        "stored": pbx.call("stored", SMS_MODE="queue"),
        "kept": pbx.call("kept late", SMS_MODE="queue", SMS_SENDER=AWAY, SMS_POSTPONE=TOMORROW),
    }
    seen.meanwhile["post"] = pbx.system.try_run("python3", "-c", POST)
    seen.meanwhile["reload"] = pbx.system.try_run("systemctl", "reload", UNIT)


def _run_the_new_commands(seen: Seen) -> None:
    """While it runs."""
    pbx = seen.pbx
    for command in ("outbox", "status", "outbox --json", "outbox limits"):
        seen.meanwhile[command] = pbx.system.try_run("dialplan-sms", *command.split())


def test_calls_go_on_while_the_files_change(seen: Seen) -> None:
    assert seen.pids[0] == seen.pids[1], "the service was started again meanwhile"
    scripts = [
        (call["SMS_STATUS"], call["SMS_CAUSE"], call["stderr"]) for call in seen.calls.scripts
    ]
    assert len(scripts) > 10
    assert set(scripts) == {("SUCCESS", "", ""), ("QUEUED", "", "")}
    assert {call["SMS_STATUS"] for call in seen.calls.fastagi} == {"SUCCESS"}
    assert len(seen.calls.fastagi) > 10


def test_the_old_service_goes_on_with_the_new_files(seen: Seen) -> None:
    late = seen.late
    assert (late["national"]["SMS_STATUS"], late["long"]["SMS_STATUS"]) == ("SUCCESS", "SUCCESS")
    assert late["abroad"]["SMS_CAUSE"] == "DENIED"
    assert (late["stored"]["SMS_STATUS"], late["kept"]["SMS_STATUS"]) == ("QUEUED", "QUEUED")
    for name, done in seen.meanwhile.items():
        assert done.returncode == 0, f"{name}: {done}"
    assert '"Success"' in seen.meanwhile["post"].stdout
    assert "sms.conf was read again" in seen.pbx.journal()


def test_delivery_decides_on_what_was_under_way(seen: Seen) -> None:
    assert seen.taken["at least once"] == 2
    assert seen.taken["at most once"] == 1
    assert seen.taken["leased"] == 1
    assert seen.taken["for a PBX that is away"] == 1


def test_nothing_is_lost_and_nothing_else_is_sent_twice(seen: Seen) -> None:
    wanted = Counter(call["text"] for call in seen.calls.scripts)
    wanted["A private text"] = len(seen.calls.fastagi)
    wanted["at least once"] = 2
    assert {text: seen.taken[text] for text in wanted} == wanted
    assert {seen.taken[text] for text in seen.taken.keys() - wanted.keys()} == {1}
    fields = ("created", "sender", "to", "mode", "call", "caller", "chars")
    for id_, old in seen.before.items():
        new = seen.after[id_]
        assert {name: new[name] for name in fields} == {name: old[name] for name in fields}
    states = Counter(each["state"] for each in seen.after.values())
    assert (states.pop("pending"), states.pop("unknown")) == (1, 1)  # kept here, at most once
    assert set(states) == {"sent"}


def test_what_is_postponed_stays_so(seen: Seen) -> None:
    before, after = seen.kept
    assert before["state"] == after["state"] == "pending"
    assert after | before == after  # with new fields
    day, month, year = TOMORROW.split()[0].split("/")
    assert seen.postponed == [f"{year}-{month}-{day}T15:35"] * 2


def test_no_traceback_is_logged(seen: Seen) -> None:
    journal = seen.pbx.journal()
    assert "Traceback" not in journal
    assert "please report" not in journal


def test_the_script_and_the_unit_are_the_new_ones(seen: Seen) -> None:
    system = seen.pbx.system
    assert system.run("head", "-n", "1", SCRIPT) == FIRST_LINE
    assert system.run("systemctl", "is-enabled", UNIT) == "enabled\n"
    assert main_pid(system) not in seen.pids
    for state in ("start", "stop"):  # handed over, and alone
        system.run("systemctl", state, UNIT)
        wait(system, "active" if state == "start" else "inactive")
        assert seen.pbx.call(f"after {state}")["SMS_STATUS"] == "SUCCESS"
    system.run("systemctl", "start", UNIT)


def test_the_unit_of_the_old_source_runs_the_new_program(seen: Seen, released: Released) -> None:
    """Who has it from make install has copied it, and no update replaces the copy."""
    system = seen.pbx.system
    shutil.copy(released.source / "systemd" / UNIT, system.path / "etc/systemd/system")
    system.run("ln", "-s", "/usr/lib/dialplan-sms", "/opt/dialplan-sms")
    try:
        system.run("systemctl", "daemon-reload")
        system.run("systemctl", "restart", UNIT)
        wait(system, "active")
        assert "/opt/dialplan-sms/" in system.run("systemctl", "cat", "--no-pager", UNIT)
        assert seen.pbx.call("by the old unit")["SMS_STATUS"] == "SUCCESS"
        system.run("systemctl", "reload", UNIT)
        wait(system, "active")
    finally:
        system.run("rm", f"/etc/systemd/system/{UNIT}", "/opt/dialplan-sms")
        system.run("systemctl", "daemon-reload")
