"""Queue and fallback mode on both real Asterisks: what is accepted arrives."""

import resource
import signal
import sqlite3
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dialplan_sms.sandbox import Fault
from tests.asterisk.site import QUEUE, SMS, Site
from tests.asterisk.test_texts import TEXTS, expected
from tests.waiting import until

DIALPLAN = """[test]
exten => agi,1,AGI({url})
exten => thin,1,AGI(sms.agi)
exten => sub,1,Set(GLOBAL(SMS_AGI)={url})
 same => n,Gosub(sub-sms,s,1)
"""
STATES = "SELECT state, cause, text FROM sms_message"


@pytest.fixture
def bed(site: Site) -> Site:
    """A site whose service runs, with an empty outbox."""
    site.serve()
    site.asterisk.set_dialplan(DIALPLAN.format(url=site.service.url))
    return site


@pytest.mark.parametrize("way", ["agi", "thin"])
@pytest.mark.parametrize("name", ["newlines", "smiley", "670 CJK", "emoji"])
def test_what_is_queued_arrives_as_it_was_written(bed: Site, way: str, name: str) -> None:
    call = bed.asterisk.call(way, variables=QUEUE | {"SMS_MESSAGE": TEXTS[name]})
    assert (call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]) == ("QUEUED", "")
    bed.wait_for(call.variables["SMS_ID"], "sent")
    assert bed.received == [expected(TEXTS[name])]
    assert bed.rows(STATES) == [("sent", "", None)]  # the text is gone


def test_the_api_may_hang_and_the_dialplan_does_not_notice(bed: Site) -> None:
    bed.sandbox.fault = Fault.HANG
    calls = [bed.asterisk.call("agi", variables=QUEUE) for _ in range(8)]
    assert {call.variables["SMS_STATUS"] for call in calls} == {"QUEUED"}
    assert max(call.duration for call in calls) < 3


def test_fallback_sends_now_or_else_stores(bed: Site) -> None:
    fallback = SMS | {"SMS_MODE": "fallback"}
    call = bed.asterisk.call("agi", variables=fallback)
    assert (call.variables["SMS_STATUS"], call.variables["SMS_ID"]) == ("SUCCESS", "")
    bed.sandbox.stop()
    call = bed.asterisk.call("agi", variables=fallback | {"SMS_MESSAGE": "later"})
    assert call.variables["SMS_STATUS"] == "QUEUED"
    bed.sandbox.start()
    bed.wait_for(call.variables["SMS_ID"], "sent", 20)
    assert [message.text for message in bed.messages][-1] == "later"
    bed.sandbox.fault = Fault.CLOSE  # it may have been sent: not stored, or it would go twice
    call = bed.asterisk.call("agi", variables=fallback)
    assert (call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]) == ("ERROR", "NO_ANSWER")


def test_without_the_service_the_script_stores_and_the_service_sends(bed: Site) -> None:
    bed.service.kill()
    call = bed.asterisk.call("sub", variables=QUEUE)
    assert call.variables["SMS_STATUS"] == "QUEUED", call.variables
    assert bed.rows(STATES)[0][0] == "pending"
    bed.service.start()
    bed.wait_for(call.variables["SMS_ID"], "sent")
    assert len(bed.messages) == 1


def test_mode_wait_leaves_a_history_without_texts(bed: Site) -> None:
    bed.asterisk.call("agi", variables=SMS)
    bed.sandbox.fault = Fault.REJECT
    bed.asterisk.call("agi", variables=SMS)
    query = "SELECT mode, state, text, chars, cause FROM sms_message ORDER BY id"
    until(lambda: len(bed.rows(query)) == 2)
    assert bed.rows(query) == [
        ("wait", "sent", None, 14, ""), ("wait", "failed", None, 14, "REJECTED"),
    ]  # fmt: skip


def test_a_date_to_come_is_kept_here_over_a_restart(bed: Site) -> None:
    when = datetime.now() + timedelta(minutes=2)
    call = bed.asterisk.call("agi", variables=SMS | {"SMS_POSTPONE": f"{when:%Y-%m-%d %H:%M}"})
    assert call.variables["SMS_STATUS"] == "QUEUED"
    bed.service.kill()
    bed.service.start()
    time.sleep(1.2)
    assert bed.rows(STATES)[0][0] == "pending"
    assert bed.sandbox.requests == []
    connection = sqlite3.connect(bed.outbox, timeout=10, isolation_level=None)
    connection.execute("UPDATE sms_message SET due = due - 200, planned = planned - 200")
    connection.close()
    bed.wait_for(call.variables["SMS_ID"], "sent")
    assert "postpone" not in dict(bed.sandbox.requests[0].pairs)


def test_or_handed_to_the_pbx(bed: Site) -> None:
    bed.serve(sender="postpone = pbx")
    when = datetime.now() + timedelta(minutes=2)
    call = bed.asterisk.call("agi", variables=SMS | {"SMS_POSTPONE": f"{when:%Y-%m-%d %H:%M}"})
    assert call.variables["SMS_STATUS"] == "SUCCESS"
    assert dict(bed.sandbox.requests[0].pairs)["postpone"] == f"{when:%d/%m/%Y %H:%M}"


def test_a_key_makes_the_second_sms_the_first(bed: Site) -> None:
    keyed = QUEUE | {"SMS_KEY": "alarm 7"}
    first, second = (bed.asterisk.call("agi", variables=keyed).variables for _ in range(2))
    assert first["SMS_STATUS"] == "QUEUED"
    assert second["SMS_STATUS"] in ("QUEUED", "SUCCESS")  # as far as it has come
    assert first["SMS_ID"] == second["SMS_ID"]
    waiting = SMS | {"SMS_KEY": "alarm 8"}
    calls = [bed.asterisk.call("thin", variables=waiting).variables for _ in range(2)]
    assert [call["SMS_STATUS"] for call in calls] == ["SUCCESS", "SUCCESS"]
    bed.wait_for(first["SMS_ID"], "sent")
    assert len(bed.messages) == 2


@pytest.mark.parametrize("service", [True, False], ids=["service", "script"])
def test_over_the_limit_nothing_is_sent(bed: Site, service: bool) -> None:
    bed.serve(sender="per_number = 2/1h\nallow = IT")
    if not service:
        bed.service.kill()
    calls = [bed.asterisk.call("sub", variables=SMS).variables for _ in range(3)]
    assert [(call["SMS_STATUS"], call["SMS_CAUSE"]) for call in calls] == [
        ("SUCCESS", ""), ("SUCCESS", ""), ("ERROR", "DENIED"),
    ]  # fmt: skip
    assert "per_number = 2/1h" in calls[-1]["SMS_REASON"]
    abroad = bed.asterisk.call("sub", variables=SMS | {"SMS_NUMBER": "+447911123456"}).variables
    assert abroad["SMS_CAUSE"] == "DENIED"
    assert len(bed.messages) == 2
    query = "SELECT state FROM sms_message"  # also where a script ends with its call
    until(lambda: bed.rows(query) == [("sent",), ("sent",)], lambda: bed.rows(query))


class TestTrouble:
    """ERROR with OUTBOX within 5 s, mode wait still sends, and all is well when the cause goes."""

    def check(self, bed: Site, words: str) -> None:
        started = time.monotonic()
        call = bed.asterisk.call("agi", variables=QUEUE)
        assert time.monotonic() - started < 6
        assert (call.variables["SMS_STATUS"], call.variables["SMS_CAUSE"]) == ("ERROR", "OUTBOX")
        assert words in call.variables["SMS_REASON"]
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"

    def recovers(self, bed: Site) -> None:
        left: dict[str, str] = {}

        def is_queued() -> bool:
            left.update(bed.asterisk.call("agi", variables=QUEUE).variables)
            return left["SMS_STATUS"] == "QUEUED"

        until(is_queued, lambda: left)
        # The second pause of a sender whose PBX is away lasts up to 12.5 s.
        bed.wait_for(left["SMS_ID"], "sent", seconds=20)

    def test_a_missing_folder(
        self, bed: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bed, "outbox", tmp_path / "later" / "outbox.sqlite")
        bed.serve()
        self.check(bed, "its folder is missing")
        bed.outbox.parent.mkdir()
        self.recovers(bed)

    def test_a_corrupted_file(self, bed: Site) -> None:
        bed.service.kill()
        for file in bed.outbox.parent.glob("outbox.sqlite*"):
            file.unlink()
        bed.outbox.write_bytes(b"no database, but long enough to look at" * 100)
        bed.service.start()
        self.check(bed, "not a database")
        bed.outbox.unlink()
        self.recovers(bed)

    def test_a_database_that_another_process_has_locked(self, bed: Site) -> None:
        bed.asterisk.call("agi", variables=QUEUE)
        connection = sqlite3.connect(bed.outbox, timeout=10, isolation_level=None)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            self.check(bed, "did not take it within 4 s")
        finally:
            connection.execute("ROLLBACK")
            connection.close()
        self.recovers(bed)
        assert bed.rows("SELECT count(*) FROM sms_message WHERE mode = 'queue'") == [(2,)]

    def test_a_disk_that_is_full(self, bed: Site) -> None:
        """A database that may not grow says the same as a disk that is full."""
        bed.asterisk.call("agi", variables=QUEUE)
        bed.service.kill()
        # The kernel refuses to let its files grow, as a disk without space does.
        limits = (bed.outbox.stat().st_size, resource.RLIM_INFINITY)
        bed.service.start()
        assert bed.service.process is not None
        old = resource.prlimit(bed.service.process.pid, resource.RLIMIT_FSIZE, limits)
        bed.sandbox.stop()  # so that the texts stay
        texts = (f"{n:02}" + "\u6f22" * 660 for n in range(60))
        seen, refused = [], 0
        while refused < 5:  # each of 60 would take minutes on a busy machine
            text = next(texts)
            seen.append(bed.asterisk.call("agi", variables=QUEUE | {"SMS_MESSAGE": text}).variables)
            refused += seen[-1]["SMS_CAUSE"] == "OUTBOX"
        assert {each["SMS_STATUS"] for each in seen} <= {"QUEUED", "ERROR"}
        bed.sandbox.start()
        assert bed.asterisk.call("agi", variables=SMS).variables["SMS_STATUS"] == "SUCCESS"
        resource.prlimit(bed.service.process.pid, resource.RLIMIT_FSIZE, old)
        self.recovers(bed)


def test_calls_at_once_share_commits(bed: Site) -> None:
    calls = [bed.asterisk.start_call("agi", variables=QUEUE) for _ in range(64)]
    found = [call.wait().variables for call in calls]
    assert {each["SMS_STATUS"] for each in found} == {"QUEUED"}
    assert len({each["SMS_ID"] for each in found}) == 64
    bed.sandbox.wait(messages=64, timeout=30)


def test_what_a_killed_service_had_under_way_is_decided_by_delivery(bed: Site) -> None:
    for delivery, state, requests in (("at-least-once", "sent", 2), ("at-most-once", "unknown", 1)):
        bed.serve(sender=f"pace = 0\ndelivery = {delivery}")
        bed.sandbox.fault = Fault.HANG
        call = bed.asterisk.call("agi", variables=QUEUE)
        bed.sandbox.wait(requests=1)
        bed.service.kill()
        bed.sandbox.fault = None
        bed.service.start()
        bed.wait_for(call.variables["SMS_ID"], state, 20)
        assert len(bed.sandbox.requests) == requests


def test_a_stop_lets_requests_end(bed: Site) -> None:
    bed.sandbox.fault = Fault.SLOW
    bed.asterisk.call("agi", variables=QUEUE)
    bed.sandbox.wait(requests=1)
    bed.service.signal(signal.SIGTERM)
    assert bed.service.wait() == 0
    assert bed.rows(STATES)[0][0] == "sent"
