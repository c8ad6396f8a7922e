"""Hosts of 0.1.0 and of this tree that share an outbox on PostgreSQL, and each with the other's."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.schema import VERSION, prepare
from dialplan_sms.sandbox import Fault, Sandbox, Trouble
from tests.asterisk.serving import Service, free_port
from tests.packaging.released import Released
from tests.unit.caller import Call
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
USERS = dict.fromkeys(("101", "102", "103"), "sms101api")
TWO = "+39333123456,+39333123457"
"""So many that an answer is waited for for 10 s."""
TOO_OLD = (
    f"the outbox was made by a newer dialplan-sms, version {VERSION} of its tables, this one knows 1:"
    " update this host"
)
"""What 0.1.0 says of this tree's tables."""


class Hosts:
    """Hosts that share the outbox at *url*, and their PBXs."""

    def __init__(self, url: str, folder: Path, released: Released, stack: ExitStack) -> None:
        self.pbx = stack.enter_context(Sandbox(tls=False, users=USERS))
        self.shut = free_port()
        """The port of one that opens no TLS at first."""
        self._url, self._folder, self._released, self._stack = url, folder, released, stack
        self.engine = open_engine(url)
        stack.callback(self.engine.dispose)

    def start(self, name: str, *, old: bool) -> Service:
        """A host of that name."""
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        service = Service(
            folder, self.pbx,
            f"outbox = {self._url}\ncall_timeout = 10\npace = 0s\npassword = sms101api",
            f"[102]\nurl = {self.pbx.url}\ndelivery = at-most-once\n"
            f"[103]\nurl = https://127.0.0.1:{self.shut}\nverify = no\n"
            "delivery = at-most-once\n",
            {"PYTHONPATH": self._released.environment["PYTHONPATH"]} if old else {},
        )  # fmt: skip
        if old:
            service.program = self._released.program
        return self._stack.enter_context(service)

    def states(self) -> Counter[str]:
        """How many SMS that have not ended well are in which state."""
        with self.engine.begin() as connection:
            states = connection.scalars(sa.text("SELECT state FROM sms_message")).all()
        return Counter(state for state in states if state != "sent")

    def wait(self, **states: int) -> None:
        """Until so many are in each state, and all others are sent."""
        until(lambda: self.states() == Counter(states), self.states, 90)


@pytest.fixture
def hosts(postgresql: str, tmp_path: Path, released: Released) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(postgresql, tmp_path, released, stack)


def queue(service: Service, text: str, sender: str = "101") -> dict[str, str]:
    """What a call leaves that stores one."""
    return Call(
        service.port, SMS_MODE="queue", SMS_MESSAGE=text, SMS_SENDER=sender, SMS_NUMBER=TWO
    ).end()


def test_one_host_is_still_old(hosts: Hosts, released: Released) -> None:
    """It has the database open when the new one comes."""
    old = hosts.start("old", old=True)
    status = released.run("status", "--json", "--config", str(old.conf)).stdout
    assert json.loads(status)["version"] == "0.1.0"
    wanted = [f"before {n}" for n in range(5)]
    for text in wanted:
        assert queue(old, text)["SMS_STATUS"] == "QUEUED"
    new = hosts.start("new", old=False)
    for n in range(20):
        text = f"by both {n}"
        assert queue(new, text)["SMS_STATUS"] == "QUEUED"
        wanted.append(text)
        said = queue(old, f"{text}, old")
        if said["SMS_STATUS"] == "QUEUED":
            wanted.append(f"{text}, old")
        else:
            assert (said["SMS_CAUSE"], said["SMS_REASON"]) == ("OUTBOX", TOO_OLD)
    hosts.wait()
    assert texts(hosts.pbx) == Counter(wanted)
    for host in (old, new):
        assert "Traceback" not in host.log
        assert "please report" not in host.log


def test_the_new_one_takes_over_what_the_old_one_had_under_way(hosts: Hosts) -> None:
    """It dies with three, one of them not yet on its way, whose PBX works then."""
    old = hosts.start("old", old=True)
    hosts.pbx.fault = Trouble(Fault.HANG, taken=True)
    with socket.create_server(("127.0.0.1", hosts.shut)):
        for sender in USERS:
            assert queue(old, sender, sender)["SMS_STATUS"] == "QUEUED"
        hosts.wait(sending=2, leased=1)
        old.kill()
    hosts.pbx.fault = None
    with hosts.engine.begin() as connection:  # all leases are over now
        connection.execute(sa.text("UPDATE sms_message SET lease_until = lease_until - 600"))
    with Sandbox(listen=f"127.0.0.1:{hosts.shut}", users=USERS) as mended:
        hosts.start("new", old=False)
        hosts.wait(unknown=1)
    assert texts(hosts.pbx) == {"101": 2, "102": 1}
    assert texts(mended) == {"103": 1}


def texts(pbx: Sandbox) -> Counter[str]:
    """How often it took each."""
    return Counter(each.text for each in pbx.messages)


def test_an_old_program_says_that_it_is_too_old(
    database: str, tmp_path: Path, released: Released
) -> None:
    engine = open_engine(database)
    with engine.begin() as connection:
        prepare(connection)
    engine.dispose()
    path = {"PYTHONPATH": released.environment["PYTHONPATH"]}
    with Sandbox(tls=False) as sandbox:
        service = Service(tmp_path, sandbox, f"outbox = {database}", environment=path)
        service.program = released.program
        conf = ("--config", str(service.conf))
        for command in (["outbox"], ["send", "--mode", "queue", "+39333123456"]):
            said = released.run(*command, *conf, stdin="Hello\n")
            assert said.returncode == 1
            assert TOO_OLD in said.stdout + said.stderr
            assert "Traceback" not in said.stderr
        with service:
            assert queue(service, "Hello")["SMS_REASON"] == TOO_OLD
            until(lambda: f"stored SMS wait: {TOO_OLD}" in service.log, lambda: service.log)
        assert sandbox.messages == []
