"""The worker and a sender's backup: in one process, on both databases."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.config.config import Config, Sender
from dialplan_sms.outbox import lease_owner, leases
from dialplan_sms.outbox.schema import attempt, gateway, message, now
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Sms
from tests.unit.outbox.test_worker import FIRST, NO_ANSWER, SECOND, UNREACHABLE, Pbx, Site
from tests.waiting import until

REJECTED = error(Cause.REJECTED, "no")
UNAUTHORIZED = error(Cause.UNAUTHORIZED, "no")
SUCCESS = Outcome(Status.SUCCESS)
WARNING = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (SECOND,))
STRANGE = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", ("111",))
LATER = 3600.0


class Asked(Pbx):
    """Counts what it is asked, taken or not."""

    asked: list[Sms]

    def send(self, sms: Sms, going_out: Callable[[], None], until: float) -> Outcome:
        self.asked.append(sms)
        return super().send(sms, going_out, until)


class Pair(Site):
    """101 with its backup 102; each has a PBX of its own."""

    def __init__(self, url: str, after: float = 0.0, pace: float = 0.0, **fields: object) -> None:
        super().__init__(url, backup="102", backup_after=after, gsm="9c7514330001", **fields)
        second = Sender(
            name="102", url="https://192.0.2.2", password="x", pace=pace, gsm="9c7514330002"
        )
        self.config = Config(Path("/x"), {"101": self.sender, "102": second}, "101", outbox=url)
        self.pbxs = {"101": Asked(), "102": Asked()}
        for pbx in self.pbxs.values():
            pbx.asked = []

    def route(self, sender: Sender) -> Asked:
        return self.pbxs[sender.name]

    def queue(self, *numbers: str, text: str = "Hello") -> int:
        """With the gateway of 101, as compose() gives it."""
        sms = Sms(numbers or (FIRST,), text, self.sender.gsm)
        return int(self.outbox.accept(sms, self.sender).id)

    def answer(self, first: Outcome, second: Outcome = SUCCESS) -> tuple[Asked, Asked]:
        """What the PBXs say from now on."""
        for pbx, outcome in zip(self.pbxs.values(), (first, second), strict=True):
            pbx.outcomes = [outcome]
        return self.pbxs["101"], self.pbxs["102"]

    def story(self, id_: int) -> list[tuple[str, str, str]]:
        """Status, cause and via of each try."""
        query = sa.select(attempt.c.status, attempt.c.cause, attempt.c.via).order_by(attempt.c.id)
        with self.outbox.writer.engine.begin() as connection:
            rows = connection.execute(query.where(attempt.c.message_id == id_)).all()
        return [(row[0], row[1], row[2]) for row in rows]

    def held(self) -> dict[str, str]:
        """What holds each sender."""
        with self.outbox.writer.engine.begin() as connection:
            rows = connection.execute(sa.select(gateway.c.sender, gateway.c.held)).all()
        return {row[0]: row[1] for row in rows}

    def grow_old(self) -> None:
        """All that is stored was due an hour ago."""
        self.change(message.update().values(created=now() - LATER))


Pairs = Callable[..., Pair]


@pytest.fixture
def pairs(database: str) -> Iterator[Pairs]:
    """Makes a Pair, which is closed with the test."""
    made: list[Pair] = []

    def make(**fields: float | str) -> Pair:
        made.append(Pair(database, **fields))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.outbox.close()


@pytest.mark.parametrize("cause", [UNREACHABLE, UNAUTHORIZED, REJECTED], ids=lambda it: it.cause)
def test_what_was_certainly_not_sent_goes_by_the_backup(pairs: Pairs, cause: Outcome) -> None:
    site = pairs()
    _, backup = site.answer(cause)
    with site.working(Pbx()):
        id_ = site.queue()
        site.wait(id_, "sent")
    assert [sms.gsm for sms in backup.sent] == ["9c7514330002"]
    assert site.story(id_) == [("SUCCESS", "", "102")]
    # That the backup was reached says nothing of the PBX that was not.
    stops = "" if cause is REJECTED else cause.cause
    assert site.held() == {"101": stops, "102": ""}
    assert (site.lines[0].sender, site.lines[0].outcome.via) == ("101", "102")


def test_while_the_sender_is_held_one_probes_and_the_rest_goes_by_the_backup(pairs: Pairs) -> None:
    site = pairs()
    first, backup = site.answer(UNREACHABLE)
    asked = first.asked
    with site.working(Pbx()):
        site.wait(site.queue(), "sent")
        assert len(asked) == 1
        ids = [site.queue() for _ in range(20)]
        for id_ in ids:
            site.wait(id_, "sent")
        assert len(asked) == 1  # none of them tried in vain
        first.seconds = 1.0  # the PBX is back, and slow at first
        first.outcomes = [SUCCESS]
        site.change(gateway.update().where(gateway.c.sender == "101").values(free_at=0.0))
        more = [site.queue() for _ in range(5)]
        for id_ in more:
            site.wait(id_, "sent")
        assert len(first.sent) == 1
        site.wait(site.queue(), "sent")
        assert len(first.sent) == 2  # it is used again at once
    assert len(backup.sent) == 21 + 4


def test_not_before_it_is_time(pairs: Pairs) -> None:
    site = pairs(after=60.0)
    _, backup = site.answer(UNREACHABLE)
    with site.working(Pbx()):
        first, second = site.queue(), site.queue()
        until(lambda: site.held().get("101") == "UNREACHABLE", site.held)
        time.sleep(0.7)
        assert backup.sent == []
        site.grow_old()
        site.wait(first, "sent")
        site.wait(second, "sent")
    assert {via for id_ in (first, second) for *_, via in site.story(id_)} == {"", "102"}


def test_what_is_rejected_waits_for_the_backup(pairs: Pairs) -> None:
    site = pairs(after=60.0)
    site.answer(REJECTED, REJECTED)
    with site.working(Pbx()):
        id_ = site.queue()
        until(lambda: site.story(id_))
        assert site.state(id_) == "pending"
        site.grow_old()
        site.wait(id_, "failed", hurry=True)
    assert {cause for _, cause, _ in site.story(id_)} == {"REJECTED"}


@pytest.mark.parametrize("doubt", [NO_ANSWER, STRANGE], ids=["no answer", "a strange warning"])
def test_what_may_have_been_sent_never_goes_by_the_backup(pairs: Pairs, doubt: Outcome) -> None:
    site = pairs()
    first, backup = site.answer(doubt)
    with site.working(Pbx()):
        id_ = site.queue()
        until(lambda: site.story(id_))
        first.outcomes = [UNREACHABLE]
        for _ in range(3):
            site.hurry()
            time.sleep(0.4)
        assert (site.state(id_), backup.sent) == ("pending", [])
        other = site.queue()  # it does not stand in the way of others
        site.wait(other, "sent")
        first.outcomes = [SUCCESS]
        site.wait(id_, "sent", hurry=True)
    assert len(backup.sent) == 1


def test_what_a_crash_left_never_goes_by_the_backup(pairs: Pairs) -> None:
    site = pairs()
    _, backup = site.answer(UNREACHABLE)
    id_ = site.queue()
    senders, do = site.config.senders, site.outbox.writer.do
    (lease,) = do(lambda c: leases.claim(c, "gone", 60.0, 4, senders), 20.0)
    do(lambda c: lease_owner.take_back(c, lease.id, NO_ANSWER, at_least_once=True), 20.0)
    with site.working(Pbx()):
        site.hurry()
        until(lambda: len(site.story(id_)) > 1)
        time.sleep(0.4)
    assert (site.state(id_), backup.sent) == ("pending", [])
    assert site.story(id_)[0] == ("ERROR", "NO_ANSWER", "")


def test_of_a_warning_the_refused_number_goes(pairs: Pairs) -> None:
    site = pairs()
    _, backup = site.answer(WARNING)
    with site.working(Pbx()):
        id_ = site.queue(FIRST, SECOND)
        site.wait(id_, "sent")
    assert [sms.numbers for sms in backup.sent] == [(SECOND,)]
    assert set(site.numbers(id_).values()) == {"sent"}


@pytest.mark.parametrize(("delivery", "state"), [("at-least-once", "sent"), ("at-most-once", "unknown")])  # fmt: skip
def test_if_nobody_knows_of_the_backup_delivery_decides(
    pairs: Pairs, delivery: str, state: str
) -> None:
    site = pairs(delivery=delivery)
    first, backup = site.answer(UNREACHABLE, NO_ANSWER)
    with site.working(Pbx()):
        id_ = site.queue()
        until(lambda: site.story(id_))
        first.outcomes = backup.outcomes = [SUCCESS]
        site.wait(id_, state, hurry=True)
    assert len(backup.sent) == 1  # it may have sent it, so nobody asks it again
    assert len(first.sent) == (delivery == "at-least-once")


@pytest.mark.parametrize("second", [UNREACHABLE, UNAUTHORIZED, REJECTED], ids=lambda it: it.cause)
def test_if_neither_can_nothing_runs_in_circles(pairs: Pairs, second: Outcome) -> None:
    site = pairs()
    site.answer(UNREACHABLE, second)
    with site.working(Pbx()):
        id_ = site.queue()
        until(lambda: site.story(id_))
        time.sleep(1.5)
        assert len(site.story(id_)) == 1
        assert site.held() == {
            "101": "UNREACHABLE",
            "102": "" if second is REJECTED else second.cause,
        }
        site.answer(UNREACHABLE, SUCCESS)
        site.wait(id_, "sent", hurry=True)


def test_the_pace_of_the_backup_is_kept(pairs: Pairs) -> None:
    site = pairs(pace=1.0)
    _, backup = site.answer(UNREACHABLE)
    with site.working(Pbx()):
        began = time.monotonic()
        ids = [site.queue() for _ in range(3)]
        for id_ in ids:
            site.wait(id_, "sent")
    assert time.monotonic() - began >= 2.0
    assert len(backup.sent) == 3


def test_the_backups_own_sms_take_their_turn(pairs: Pairs) -> None:
    """What is due first goes first, whoever was asked for it."""
    site = pairs(pace=0.3)
    _, backup = site.answer(UNREACHABLE)
    other = site.config.senders["102"]
    for n in range(6):
        if n % 2:
            site.outbox.accept(Sms((FIRST,), f"102 {n}", other.gsm), other)
        else:
            site.queue(text=f"101 {n}")
    with site.working(Pbx()):
        until(lambda: len(backup.sent) == 6, lambda: backup.sent)
    senders = [sms.text.partition(" ")[0] for sms in backup.sent]
    assert senders[:4].count("102") in (1, 2, 3), senders


def test_a_reload_may_take_the_backup_away(pairs: Pairs) -> None:
    site = pairs()
    site.answer(UNREACHABLE)
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
    counts: list[int] = []
    for backup in ("", "102"):
        site = pairs()
        senders = {"101": replace(site.sender, backup=backup)} | {"102": site.config.senders["102"]}
        site.queue()
        with closing(site.outbox.writer.engine.connect()) as connection:
            seen: list[str] = []
            sa.event.listen(
                connection, "before_cursor_execute", lambda *args, seen=seen: seen.append(args[2])
            )
            leases.claim(connection, "a", 60.0, 4, senders)
            connection.rollback()
        counts.append(len(seen))
        site.change(sa.text("DELETE FROM sms_number"))  # type: ignore[arg-type]
        site.change(sa.text("DELETE FROM sms_message"))  # type: ignore[arg-type]
    assert counts[1] - counts[0] == 2
