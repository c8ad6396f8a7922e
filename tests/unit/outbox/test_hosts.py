"""Hosts that share an outbox, when one hangs or the database is away for long."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from dialplan_sms.outbox import lease_owner
from dialplan_sms.outbox import worker as worker_module
from dialplan_sms.outbox.store import Outbox
from dialplan_sms.sms.outcome import Cause, Outcome, Status
from dialplan_sms.sms.sms import Sms
from tests.postgres import Postgres
from tests.unit.outbox.test_worker import FIRST, Pbx, Site
from tests.waiting import until

pytestmark = pytest.mark.slow

HANGS = """
import os, signal, sys, time
from dialplan_sms.outbox import leases, limits
from dialplan_sms.outbox.store import Outbox
from dataclasses import replace
from tests.unit.stored import NUMBERS, SENDER, row

def hang(connection):
    if sys.argv[2] == "claim":
        leases.claim(connection, "other", 20.0, 1, {})
    else:
        limits.refusal(connection, replace(SENDER, per_sender=(9, 60.0)), row(), NUMBERS)
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)  # it may be another thread that stops first

Outbox(sys.argv[1]).writer.do(hang, 600.0)
"""
"""Another host, which hangs (SIGSTOP) while it holds what is in its second argument."""


@contextmanager
def hanging(url: str, what: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", HANGS, url, what])
    try:
        stopped = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert stopped is not None
        assert stopped.si_status == signal.SIGSTOP
        yield
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def away(postgres: Postgres) -> Iterator[None]:
    postgres.stop()
    try:
        yield
    finally:
        postgres.start()


@pytest.fixture
def site(postgresql: str) -> Iterator[Site]:
    site = Site(postgresql)
    with closing(site.outbox):
        yield site


def said(site: Site, words: str) -> None:
    until(lambda: any(words in note for note in site.notes), lambda: site.notes, 30.0)


class TestAHostThatHangs:
    """In the middle of a transaction."""

    def test_in_a_claim_leaves_its_sms_to_another(self, site: Site) -> None:
        id_ = site.queue()
        with hanging(site.url, "claim"), site.working(Pbx()):
            site.wait(id_, "sent", seconds=60)
            said(site, " keeps the outbox locked and does nothing")
            said(site, " does not keep the outbox locked any more, this host goes on")
        assert f"dialplan-sms on {os.uname().nodename[:40]} keeps" in "\n".join(site.notes)

    def test_in_a_limit_leaves_the_calls_to_another(self, postgresql: str) -> None:
        site = Site(postgresql, per_sender=(9, 60.0))
        site.queue()
        with closing(site.outbox), site.working(Pbx()), hanging(site.url, "limit"):
            outcomes: list[Outcome] = []

            def stored() -> bool:
                began = time.monotonic()
                outcomes.append(site.outbox.accept(Sms((FIRST,), "x"), site.sender))
                assert time.monotonic() - began < 6
                return outcomes[-1].status is Status.QUEUED

            until(stored, seconds=60.0)
            assert {each.cause for each in outcomes[:-1]} <= {Cause.OUTBOX}  # not NO_ANSWER
            said(site, " does not keep the outbox locked any more, this host goes on")
            site.wait(int(outcomes[-1].id), "sent")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are short, and what they leave is looked for soon."""
    monkeypatch.setattr(worker_module, "_MARGIN", 0.5)
    monkeypatch.setattr(worker_module, "_RECOVER", 0.5)


@pytest.mark.usefixtures("soon")
class TestADatabaseThatIsAway:
    """For longer than a lease lasts."""

    def test_doubles_nothing_that_is_known_to_be_sent(
        self, postgres: Postgres, postgresql: str
    ) -> None:
        """Not even where another host is back before the one that sends."""
        site, other = Site(postgresql, call_timeout=0.5), Outbox(postgresql)
        pbx = Pbx(seconds=5.0)
        ids = [site.queue(text=f"n{n}") for n in range(4)]
        both = site.working(pbx, threads=2), site.working(pbx, other, threads=2)
        with closing(site.outbox), closing(other), both[0], both[1]:
            site.wait(ids, "sending")
            with away(postgres):
                time.sleep(1.5)  # the leases are over
            site.wait(ids, "sent", seconds=20)
            time.sleep(2.0)
        assert sorted(sms.text for sms in pbx.sent) == ["n0", "n1", "n2", "n3"]

    def test_is_said_to_work_again_once_it_does(
        self, site: Site, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker_module, "_RECOVER", 600.0)
        pbx = Pbx(seconds=1.0)
        ids = [site.queue(text=f"n{n}") for n in range(2)]
        with site.working(pbx, threads=2):  # all are busy: no turn gets as far as the database
            site.wait(ids, "sending")
            with away(postgres):
                said(site, "stored SMS wait")
                time.sleep(4.0)
                assert "the outbox works again" not in site.notes
            said(site, "the outbox works again")
            site.wait(ids, "sent", seconds=20)
        assert site.notes.count("the outbox works again") == 1
        assert len(pbx.sent) == 2


@pytest.mark.usefixtures("soon")
def test_a_host_that_died_loses_its_leases_once_the_others_had_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_owner, "COME_BACK", 2.0)
    id_ = site.queue()
    (claimed,) = site.claim("dead", lease=-1.0)
    assert site.begin(claimed)
    began = time.monotonic()
    with site.working(Pbx()):
        said(site, f"SMS {id_} was sending by a worker that is gone, and is pending now")
        assert time.monotonic() - began >= 2.0
