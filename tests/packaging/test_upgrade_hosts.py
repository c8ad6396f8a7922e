"""Hosts of 0.1.0 and of this tree that share an outbox on PostgreSQL, and each with the other's."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.outbox.database import open_engine
from dialplan_sms.outbox.schema import VERSION as TABLES
from dialplan_sms.outbox.writer import Writer
from dialplan_sms.sandbox import Fault, Sandbox, Trouble
from tests.asterisk.serving import Service, free_port
from tests.packaging.released import Released
from tests.postgres import Postgres
from tests.unit.caller import Call
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
USERS = dict.fromkeys(("101", "102", "103"), "sms101api")
TWO = "+39333123456,+39333123457"
"""So many that an answer is waited for for 10 s."""


class Hosts:
    """Hosts that share the outbox at *url*, and their PBXs."""

    def __init__(self, url: str, folder: Path, released: Released, stack: ExitStack) -> None:
        self.pbx = stack.enter_context(Sandbox(tls=False, users=USERS))
        self.shut = free_port()
        """The port of one that opens no TLS at first."""
        self._url, self._folder, self._released, self._stack = url, folder, released, stack
        self._engine = open_engine(url)
        stack.callback(self._engine.dispose)

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

    def die_with_sms_under_way(self, service: Service, name: str) -> Sandbox:
        """Kill it with three, one of them not yet on its way; that one's PBX, which works then."""
        self.pbx.fault = Trouble(Fault.HANG, taken=True)
        with socket.create_server(("127.0.0.1", self.shut)):
            for sender in USERS:
                assert queue(service, f"{name} {sender}", sender)["SMS_STATUS"] == "QUEUED"
            self.wait(sending=2, leased=1)
            service.kill()
        self.pbx.fault = None
        listen = f"127.0.0.1:{self.shut}"
        return self._stack.enter_context(Sandbox(listen=listen, users=USERS))

    def states(self) -> Counter[str]:
        """How many SMS that have not ended well are in which state."""
        with self._engine.begin() as connection:
            states = connection.scalars(sa.text("SELECT state FROM sms_message")).all()
        return Counter(state for state in states if state != "sent")

    def wait(self, **states: int) -> None:
        """Until so many are in each state, and all others are sent."""
        until(lambda: self.states() == Counter(states), self.states, 90)

    def pass_time(self) -> None:
        """All leases are over now."""
        with self._engine.begin() as connection:
            connection.execute(sa.text("UPDATE sms_message SET lease_until = lease_until - 600"))


@pytest.fixture
def hosts(postgresql: str, tmp_path: Path, released: Released) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(postgresql, tmp_path, released, stack)


@contextmanager
def another(hosts: Postgres) -> Iterator[str]:
    name = f"upgrade{time.monotonic_ns()}"
    try:
        yield hosts.create_database(name)
    finally:
        hosts.drop_database(name)


def queue(service: Service, text: str, sender: str = "101") -> dict[str, str]:
    """What a call leaves that stores one."""
    return Call(
        service.port, SMS_MODE="queue", SMS_MESSAGE=text, SMS_SENDER=sender, SMS_NUMBER=TWO
    ).end()


def too_old(version: int) -> str:
    """What 0.1.0 says of newer tables."""
    return (
        f"the outbox was made by a newer dialplan-sms, version {version} of its tables, this one"
        " knows 1: update this host"
    )


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
            assert TABLES > 1
            assert (said["SMS_CAUSE"], said["SMS_REASON"]) == ("OUTBOX", too_old(TABLES))
    hosts.wait()
    assert Counter(each.text for each in hosts.pbx.messages) == Counter(wanted)
    for host in (old, new):
        assert "Traceback" not in host.log
        assert "please report" not in host.log


def test_each_takes_over_what_the_other_had_under_way(
    hosts: Hosts, postgres: Postgres, tmp_path: Path, released: Released
) -> None:
    """On two databases at once, since the new one gives the others time to come back."""
    mended = hosts.die_with_sms_under_way(hosts.start("old", old=True), "old")
    hosts.pass_time()
    hosts.start("new", old=False)
    if TABLES == 1:
        with ExitStack() as stack:
            others = Hosts(stack.enter_context(another(postgres)), tmp_path / "b", released, stack)
            also = others.die_with_sms_under_way(others.start("new", old=False), "new")
            others.pass_time()
            others.start("old", old=True)
            others.wait(unknown=1)
            assert texts(others.pbx) == {"new 101": 2, "new 102": 1}
            assert texts(also) == {"new 103": 1}
    hosts.wait(unknown=1)
    assert texts(hosts.pbx) == {"old 101": 2, "old 102": 1}
    assert texts(mended) == {"old 103": 1}


def texts(pbx: Sandbox) -> dict[str, int]:
    """How often it took each."""
    return dict(Counter(each.text for each in pbx.messages))


def test_an_old_program_says_that_it_is_too_old(
    database: str, tmp_path: Path, released: Released
) -> None:
    writer = Writer(database)
    try:
        version = max(TABLES, 2)
        raised = sa.text(f"UPDATE sms_meta SET value = '{version}' WHERE name = 'version'")
        writer.do(lambda c: c.execute(raised) and None, 20.0)
    finally:
        writer.close()
    with Sandbox(tls=False) as sandbox:
        service = Service(
            tmp_path,
            sandbox,
            f"outbox = {database}",
            "",
            {"PYTHONPATH": released.environment["PYTHONPATH"]},
        )
        service.program = released.program
        conf = ("--config", str(service.conf))
        for command in (["outbox"], ["send", "--mode", "queue", "+39333123456"]):
            said = released.run(*command, *conf, stdin="Hello\n")
            assert (said.returncode, too_old(version) in said.stdout + said.stderr) == (1, True), (
                said
            )
            assert "Traceback" not in said.stderr
        with service:
            assert queue(service, "Hello")["SMS_REASON"] == too_old(version)
            until(
                lambda: f"stored SMS wait: {too_old(version)}" in service.log, lambda: service.log
            )
        assert sandbox.messages == []
