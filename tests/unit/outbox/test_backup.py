"""The worker and a sender's backup: in one process, on both databases.

Also of lists of numbers, of which a backup by curl takes one at a time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox import gateways, lease_owner, leases
from dialplan_sms.outbox.schema import attempt, gateway, message, now
from dialplan_sms.routes import curl
from dialplan_sms.sms import log
from dialplan_sms.sms.backup import send_rest
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Sms
from tests.unit.outbox.test_worker import (
    BY_CURL,
    NO_ANSWER,
    SUCCESS,
    UNAUTHORIZED,
    UNREACHABLE,
    Pbx,
    Site,
    by_delivery,
)
from tests.unit.stored import NUMBERS, rows
from tests.waiting import until

REJECTED = error(Cause.REJECTED, "no")
A, B, C = NUMBERS
WARNING = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (B,))
STRANGE = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", ("111",))
REFUSED = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (B, C))
PARTLY = curl.together((B, C), {(B,): NO_ANSWER, (C,): SUCCESS})


class Pair(Site):
    """101 with its backup 102; each has a PBX of its own."""

    def __init__(self, url: str, after: float = 0.0, pace: float = 0.0, **fields: object) -> None:
        super().__init__(url, backup="102", backup_after=after, gsm="9c7514330001", **fields)
        second = Sender(
            name="102", url="https://192.0.2.2", password="x", pace=pace, gsm="9c7514330002"
        )
        self.config = Config(Path("/x"), {"101": self.sender, "102": second}, "101", outbox=url)
        self.first, self.backup = Pbx(), Pbx()

    @property
    def second(self) -> Sender:
        return self.config.senders["102"]

    @second.setter
    def second(self, sender: Sender) -> None:
        self.config = replace(self.config, senders={"101": self.sender, "102": sender})

    def route(self, sender: Sender) -> Pbx:
        return self.first if sender.name == "101" else self.backup

    def queue(self, *numbers: str, text: str = "Hello") -> int:
        """With the gateway of 101, as compose() gives it."""
        sms = Sms(numbers or (A,), text, self.sender.gsm)
        return int(self.outbox.accept(sms, self.sender).id)

    def answer(self, first: Outcome, second: Outcome = SUCCESS) -> None:
        """What the PBXs say from now on."""
        self.first.outcomes, self.backup.outcomes = [first], [second]

    def story(self, id_: int) -> list[tuple[str, str, str]]:
        """Status, cause and via of each try."""
        query = sa.select(attempt.c.status, attempt.c.cause, attempt.c.via).order_by(attempt.c.id)
        rows = self.do(lambda c: c.execute(query.where(attempt.c.message_id == id_)).all())
        return [(row[0], row[1], row[2]) for row in rows]

    def held(self) -> dict[str, str]:
        """What holds each sender."""
        query = sa.select(gateway.c.sender, gateway.c.held)
        return self.do(lambda c: {row[0]: row[1] for row in c.execute(query)})

    def grow_old(self) -> None:
        """All that is stored was due an hour ago."""
        self.change(message, created=now() - 3600.0)


Pairs = Callable[..., Pair]


@pytest.fixture
def pairs(database: str) -> Iterator[Pairs]:
    """Makes a Pair whose PBXs say so; it is closed with the test."""
    with ExitStack() as closing:

        def make(first: Outcome = SUCCESS, second: Outcome = SUCCESS, **fields: Any) -> Pair:
            pair = Pair(database, **fields)
            pair.answer(first, second)
            closing.callback(pair.outbox.close)
            return pair

        yield make


@pytest.mark.parametrize("cause", [UNREACHABLE, UNAUTHORIZED, REJECTED], ids=lambda it: it.cause)
def test_what_was_certainly_not_sent_goes_by_the_backup(pairs: Pairs, cause: Outcome) -> None:
    site = pairs(cause)
    with site.working(Pbx()):
        id_ = site.queue()
        site.wait(id_, "sent")
    assert [sms.gsm for sms in site.backup.sent] == ["9c7514330002"]
    assert site.story(id_) == [("SUCCESS", "", "102")]
    # That the backup was reached says nothing of the PBX that was not.
    stops = "" if cause is REJECTED else cause.cause
    assert site.held() == {"101": stops, "102": ""}
    assert (site.lines[0].sender, site.lines[0].outcome.via) == ("101", "102")


def test_while_the_sender_is_held_one_probes_and_the_rest_goes_by_the_backup(pairs: Pairs) -> None:
    site = pairs(UNREACHABLE)
    with site.working(Pbx()):
        site.wait(site.queue(), "sent")
        assert len(site.first.asked) == 1
        site.wait([site.queue() for _ in range(20)], "sent")
        assert len(site.first.asked) == 1  # none of them tried in vain
        site.first.seconds = 1.0  # the PBX is back, and slow at first
        site.first.outcomes = [SUCCESS]
        site.change(gateway, gateway.c.sender == "101", free_at=0.0)
        site.wait([site.queue() for _ in range(5)], "sent")
        assert len(site.first.sent) == 1
        site.wait(site.queue(), "sent")
        assert len(site.first.sent) == 2  # it is used again at once
    assert len(site.backup.sent) == 21 + 4


def test_not_before_it_is_time(pairs: Pairs) -> None:
    site = pairs(UNREACHABLE, after=60.0)
    with site.working(Pbx()):
        first, second = site.queue(), site.queue()
        until(lambda: site.held().get("101") == "UNREACHABLE", site.held)
        time.sleep(0.7)
        assert site.backup.sent == []
        site.grow_old()
        site.wait([first, second], "sent")
    assert {via for id_ in (first, second) for *_, via in site.story(id_)} == {"", "102"}


def test_what_is_rejected_waits_for_the_backup(pairs: Pairs) -> None:
    site = pairs(REJECTED, REJECTED, after=60.0)
    with site.working(Pbx()):
        id_ = site.queue()
        until(lambda: site.story(id_))
        assert site.state(id_) == "pending"
        site.grow_old()
        site.wait(id_, "failed", hurry=True)
    assert {cause for _, cause, _ in site.story(id_)} == {"REJECTED"}


@pytest.mark.parametrize("doubt", [NO_ANSWER, STRANGE], ids=["no answer", "a strange warning"])
def test_what_may_have_been_sent_never_goes_by_the_backup(pairs: Pairs, doubt: Outcome) -> None:
    site = pairs(doubt)
    with site.working(Pbx()):
        id_ = site.queue()
        until(lambda: site.story(id_))
        site.first.outcomes = [UNREACHABLE]
        for _ in range(3):
            site.hurry()
            time.sleep(0.4)
        assert (site.state(id_), site.backup.sent) == ("pending", [])
        other = site.queue()  # it does not stand in the way of others
        site.wait(other, "sent")
        site.first.outcomes = [SUCCESS]
        site.wait(id_, "sent", hurry=True)
    assert len(site.backup.sent) == 1


def test_what_a_crash_left_never_goes_by_the_backup(pairs: Pairs) -> None:
    site = pairs(UNREACHABLE)
    id_ = site.queue()
    (lease,) = site.do(lambda c: leases.claim(c, "gone", 60.0, 4, site.config.senders))
    site.do(lambda c: lease_owner.take_back(c, lease.id, NO_ANSWER, at_least_once=True))
    with site.working(Pbx()):
        site.hurry()
        until(lambda: len(site.story(id_)) > 1)
        time.sleep(0.4)
    assert (site.state(id_), site.backup.sent) == ("pending", [])
    assert site.story(id_)[0] == ("ERROR", "NO_ANSWER", "")


def test_of_a_warning_the_refused_number_goes(pairs: Pairs) -> None:
    site = pairs(WARNING)
    with site.working(Pbx()):
        id_ = site.queue(A, B)
        site.wait(id_, "sent")
    assert [sms.numbers for sms in site.backup.sent] == [(B,)]
    assert set(site.states(id_).values()) == {"sent"}


@by_delivery
@pytest.mark.parametrize(
    ("numbers", "says", "doubt", "asked", "unsure"),
    [((A,), UNREACHABLE, NO_ANSWER, [(A,)], (A,)), ((A, B, C), REFUSED, PARTLY, [(B, C)], (B,))],
    ids=["one", "a list"],
)
def test_if_nobody_knows_of_the_backup_delivery_decides(
    pairs: Pairs, delivery: str, state: str, numbers: tuple[str, ...], says: Outcome,
    doubt: Outcome, asked: list[tuple[str, ...]], unsure: tuple[str, ...],
) -> None:  # fmt: skip
    site = pairs(says, doubt, delivery=delivery)
    with site.working(Pbx()):
        id_ = site.queue(*numbers)
        until(lambda: site.story(id_))
        site.first.outcomes = site.backup.outcomes = [SUCCESS]
        site.wait(id_, state, hurry=True)
    assert [sms.numbers for sms in site.backup.sent] == asked  # it may have sent it: not again
    again = [unsure] if delivery == "at-least-once" else []
    assert [sms.numbers for sms in site.first.asked] == [numbers, *again]


@pytest.mark.parametrize("second", [UNREACHABLE, UNAUTHORIZED, REJECTED], ids=lambda it: it.cause)
def test_if_neither_can_nothing_runs_in_circles(pairs: Pairs, second: Outcome) -> None:
    site = pairs(UNREACHABLE, second)
    with site.working(Pbx()):
        id_ = site.queue()
        until(lambda: site.story(id_))
        time.sleep(1.5)
        assert len(site.story(id_)) == 1
        stops = "" if second is REJECTED else second.cause
        assert site.held() == {"101": "UNREACHABLE", "102": stops}
        site.answer(UNREACHABLE, SUCCESS)
        site.wait(id_, "sent", hurry=True)


def test_the_pace_of_the_backup_is_kept(pairs: Pairs) -> None:
    site = pairs(UNREACHABLE, pace=1.0)
    with site.working(Pbx()):
        began = time.monotonic()
        site.wait([site.queue() for _ in range(3)], "sent")
    assert time.monotonic() - began >= 2.0
    assert len(site.backup.sent) == 3


def test_the_backups_own_sms_take_their_turn(pairs: Pairs) -> None:
    """What is due first goes first, whoever was asked for it."""
    site = pairs(UNREACHABLE, pace=0.3)
    for _ in range(3):
        site.queue(text="101")
        site.outbox.accept(Sms((A,), "102", site.second.gsm), site.second)
    with site.working(Pbx()):
        until(lambda: len(site.backup.sent) == 6, lambda: site.backup.sent)
    senders = [sms.text for sms in site.backup.sent]
    assert senders[:4].count("102") in (1, 2, 3), senders


def test_a_reload_may_take_the_backup_away(pairs: Pairs) -> None:
    site = pairs(UNREACHABLE)
    with site.working(Pbx()):
        site.wait(site.queue(), "sent")
        site.config = replace(site.config, senders={"101": replace(site.sender, backup="")})
        id_ = site.queue()
        time.sleep(1.0)
        assert site.state(id_) == "pending"
        site.answer(SUCCESS)
        site.wait(id_, "sent", hurry=True)
    assert not [note for note in site.notes if "please report" in note]


def test_a_claim_without_a_backup_asks_the_database_for_no_more(pairs: Pairs) -> None:
    """The statements of a look at the outbox, with a backup that nothing needs, and without."""
    site = pairs()
    site.queue()
    counts: list[int] = []
    for backup in ("", "102"):
        senders = {"101": replace(site.sender, backup=backup), "102": site.second}
        seen: list[object] = []
        with site.writer.engine.connect() as connection:
            sa.event.listen(
                connection, "before_cursor_execute", lambda *args, seen=seen: seen.append(args)
            )
            leases.claim(connection, "a", 60.0, 4, senders)
            connection.rollback()
        counts.append(len(seen))
    assert counts[1] - counts[0] == 2


def test_what_the_backup_sent_is_not_among_those_that_failed(pairs: Pairs) -> None:
    site, sms = pairs(), Sms((A, B, C), "Hi")
    outcome = send_rest(REFUSED, sms, site.sender, site.second, lambda _: PARTLY)
    assert (outcome.failed, outcome.unknown) == ((), (B,))
    site.outbox.record(sms, site.sender, outcome)
    site.outbox.close()
    assert [row.state for row in rows(site.url)] == ["unknown"]


def test_a_backup_by_curl_gets_one_number_a_lease(pairs: Pairs) -> None:
    site = pairs(UNREACHABLE)
    site.second = replace(site.second, curl=BY_CURL, success="OK", batch=1)
    with site.working(Pbx()):
        id_ = site.queue(A, B, C)
        site.wait(id_, "sent")
    assert [sms.numbers for sms in site.backup.sent] == [(A,), (B,), (C,)]
    assert len(site.story(id_)) == 3  # each recorded before the next


def test_the_log_has_no_text_as_the_backup_takes_it(pairs: Pairs) -> None:
    site = pairs()
    second, sms = replace(site.second, gsm7="plain"), Sms((A,), "žluťoučký kůň")
    outcome = send_rest(
        REJECTED, sms, site.sender, second,
        lambda its: error(Cause.REJECTED, f"spam: {its.text}", from_pbx=True),
    )  # fmt: skip
    assert "zlut" in outcome.reason
    assert "zlut" not in log.harmless(outcome, sms)


def test_what_is_rejected_has_its_turn_at_a_busy_backup(pairs: Pairs) -> None:
    site = pairs(REJECTED, pace=0.3)
    for _ in range(40):
        site.outbox.accept(Sms((A,), "bulk", site.second.gsm), site.second)
    with site.working(Pbx()):
        until(lambda: site.backup.sent)
        id_ = site.queue(B)
        until(lambda: site.story(id_))
    assert site.story(id_) == [("SUCCESS", "", "102")]


def test_the_backups_pause_for_a_list_is_longer_than_its_batch(pairs: Pairs) -> None:
    site = pairs(pace=5.0)
    site.queue()
    senders = [site.sender, replace(site.second, batch=1)]
    assert site.do(lambda c: gateways.take(c, "102", "", 95.0)) is not None
    site.do(lambda c: gateways.mend_clock(c, senders))
    left = sa.select(gateway.c.free_at - now()).where(gateway.c.sender == "102")
    assert (site.do(lambda c: c.scalar(left)) or 0.0) > 80.0
