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
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dialplan_sms.sandbox.pbx import GATEWAYS
from tests.packaging.released import Released
from tests.packaging.root import ENVIRONMENT, PASSWORD, SCRIPT, TOP, UNIT, Booted, StandIn, need
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
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

[http]
page = yes
"""
LASTING = ("created", "sender", "to", "mode", "call", "caller", "chars")
"""What the outbox's command shows of an SMS that does not change."""
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


class Pbx(Booted):
    """A host with the package and its service."""

    def queue(self, sender: str, text: str, number: str = NUMBER, postpone: str = "") -> int:
        """Store one; its id."""
        said = self.call(
            text, SMS_MODE="queue", SMS_SENDER=sender, SMS_NUMBER=number, SMS_POSTPONE=postpone
        )
        assert said["SMS_STATUS"] == "QUEUED", said
        return int(said["SMS_ID"])

    def stored(self) -> dict[int, dict[str, Any]]:
        """Everything in the outbox, as its command shows it."""
        shown = self.run("dialplan-sms", "outbox", "--json", "--most", "9999")
        return {each["id"]: each for each in json.loads(shown)}

    def show(self, id_: int) -> dict[str, Any]:
        """One SMS as the command shows it."""
        shown: dict[str, Any] = json.loads(
            self.run("dialplan-sms", "outbox", "show", "--json", "--text", str(id_))
        )
        return shown

    def states(self, ids: list[int]) -> list[str]:
        """Looked at from outside, since a command takes too long."""
        path = self.path / OUTBOX
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as outbox:
            found = dict(outbox.execute("SELECT id, state FROM sms_message").fetchall())
        return [found[id_] for id_ in ids]

    def reach(self, ids: list[int], *states: str) -> None:
        """Until they are in these states, all at once."""
        until(
            lambda: self.states(ids) == list(states),
            lambda: (self.states(ids), self.journal()[-3000:]),
            90,
        )

    def journal(self) -> str:
        """What the service and systemd said of it."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", UNIT)


@contextmanager
def calling(pbx: Pbx) -> Iterator[tuple[list[dict[str, str]], list[dict[str, str]]]]:
    """Calls without a pause meanwhile: what those by script leave, and then those over FastAGI."""
    scripts: list[dict[str, str]] = []
    fastagi: list[dict[str, str]] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            mode, text = ("wait", "queue")[len(scripts) % 2], f"call {len(scripts)}"
            scripts.append(pbx.call(text, SMS_MODE=mode) | {"text": text})

    thread = threading.Thread(target=call)
    thread.start()
    process = subprocess.Popen(
        pbx.outside(sys.executable, "-c", FASTAGI), env=ENVIRONMENT,
        cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield scripts, fastagi
    finally:
        over.set()
        thread.join(60)
        said, _err = process.communicate(timeout=60)
    assert process.returncode == 0
    fastagi += [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def pbx(released_deb: Path, deb: Path) -> Iterator[Pbx]:
    """With 0.1.0's package, and this tree's beside it."""
    need()
    with closing(Pbx("bookworm+systemd")) as pbx:
        pbx.install(released_deb)
        shutil.copy(deb, pbx.path / "root/new.deb")
        user = pbx.run("dialplan-sms", "user", "wms", stdin="private\n").splitlines()[0]
        pbx.write("/etc/asterisk/sms.conf", f"{CONF}{user}\n", 0o640, "asterisk")
        yield pbx


def test_an_upgrade_in_the_middle_of_everything(
    pbx: Pbx, released: Released, tmp_path: Path
) -> None:
    with ExitStack() as stack:

        def stand_in(port: int, *options: str) -> StandIn:
            return stack.enter_context(StandIn(pbx, tmp_path, port, SENDERS, *options))

        stand_ins = [stand_in(8080, "--no-tls")]
        stand_ins.append(stand_in(8081, "--no-tls", "--fault", "taken-hang:2"))
        silent = subprocess.Popen(pbx.outside(sys.executable, "-c", SILENT))
        stack.callback(silent.kill)
        pbx.run("systemctl", "enable", "--now", UNIT)
        pbx.wait("active")
        pid = pbx.main_pid()
        kept = pbx.queue(WORKS, "kept here", NUMBER, TOMORROW)
        before, kept_before = pbx.stored(), pbx.show(kept)

        # Calls go on while the files change.
        with calling(pbx) as (scripts, fastagi):
            time.sleep(1)
            pbx.run("dpkg", "--unpack", "/root/new.deb")
            time.sleep(1)
        assert pbx.main_pid() == pid, "the service was started again meanwhile"
        said = {(each["SMS_STATUS"], each["SMS_CAUSE"], each["stderr"]) for each in scripts}
        assert said == {("SUCCESS", "", ""), ("QUEUED", "", "")}
        assert len(scripts) > 10
        assert len(fastagi) > 10
        assert {each["SMS_STATUS"] for each in fastagi} == {"SUCCESS"}

        # The old service goes on with the new files, some of which it imports only now.
        for text, number in (
            ("national", "333 123 4567"),
            ("long " + "e\u0301\U0001f469\u200d\U0001f467" * 400, NUMBER),
        ):
            assert pbx.call(text, SMS_NUMBER=number)["SMS_STATUS"] == "SUCCESS"
        abroad = pbx.call("abroad", SMS_NUMBER="+12025550123", SMS_SENDER=WORKS)
        assert abroad["SMS_CAUSE"] == "DENIED"
        pbx.queue(WORKS, "stored")
        pbx.queue(AWAY, "kept late", NUMBER, TOMORROW)
        assert '"Success"' in pbx.run("python3", "-c", POST)
        pbx.run("systemctl", "reload", UNIT)

        # It is killed with SMS under way.
        ids = [
            pbx.queue(ONCE, "at least once", MANY),
            pbx.queue(AT_MOST, "at most once", MANY),
            pbx.queue(SHUT, "leased"),
            pbx.queue(AWAY, "for a PBX that is away"),
            pbx.queue(AWAY, "kept by the PBX", NUMBER, TOMORROW),
        ]
        pbx.reach(ids, "sending", "sending", "leased", "pending", "pending")
        pbx.run("systemctl", "kill", "--signal=KILL", UNIT)
        assert "sms.conf was read again" in pbx.journal()
        silent.kill()
        silent.wait(10)
        stand_ins += [stand_in(8082), stand_in(8083, "--no-tls")]

        pbx.run("dpkg", "--configure", "dialplan-sms")
        pbx.wait("active")
        pbx.reach(ids, "sent", "unknown", "sent", "sent", "sent")

        # Nothing is lost, and nothing else is sent twice: delivery decides on what was under way.
        taken = sum((each.taken for each in stand_ins), Counter[str]())
        wanted = Counter(each["text"] for each in scripts)
        wanted.update({"A private text": len(fastagi), "at least once": 2})
        wanted.update(("at most once", "leased", "for a PBX that is away"))
        assert {text: taken[text] for text in wanted} == wanted
        assert {taken[text] for text in taken.keys() - wanted.keys()} == {1}
        after = pbx.stored()
        for id_, old in before.items():
            assert {name: after[id_][name] for name in LASTING} == {n: old[n] for n in LASTING}
        states = Counter(each["state"] for each in after.values())
        assert (states.pop("pending"), states.pop("unknown")) == (1, 1)  # kept here, at most once
        assert set(states) == {"sent"}

        # What is postponed stays so.
        kept_after = pbx.show(kept)
        assert kept_before["state"] == kept_after["state"] == "pending"
        assert kept_after | kept_before == kept_after  # with new fields
        day, month, year = TOMORROW.split()[0].split("/")
        postponed = [each["postpone"] for each in stand_ins[-1].messages if each["postpone"]]
        assert postponed == [f"{year}-{month}-{day}T15:35"] * 2

        # The script and the unit are the new ones.
        assert pbx.run("head", "-n", "1", SCRIPT) == FIRST_LINE
        assert pbx.run("systemctl", "is-enabled", UNIT) == "enabled\n"
        assert pbx.main_pid() != pid
        for state, shown in ("start", "active"), ("stop", "inactive"):  # handed over, and alone
            pbx.run("systemctl", state, UNIT)
            pbx.wait(shown)
            assert pbx.call(f"after {state}")["SMS_STATUS"] == "SUCCESS"

        # Who has the unit from make install has copied it, and no update replaces the copy.
        shutil.copy(released.source / "systemd" / UNIT, pbx.path / "etc/systemd/system")
        pbx.run("ln", "-s", "/usr/lib/dialplan-sms", "/opt/dialplan-sms")
        pbx.run("systemctl", "daemon-reload")
        pbx.run("systemctl", "start", UNIT)
        pbx.wait("active")
        assert "/opt/dialplan-sms/" in pbx.run("systemctl", "cat", "--no-pager", UNIT)
        assert pbx.call("by the old unit")["SMS_STATUS"] == "SUCCESS"
        pbx.run("systemctl", "reload", UNIT)
        pbx.wait("active")
        journal = pbx.journal()
        assert "Traceback" not in journal
        assert "please report" not in journal
