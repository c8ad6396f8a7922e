"""Lists of numbers, of which a backup by curl takes one at a time, and the backup's turn."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from dialplan_sms.config import curl as line
from dialplan_sms.config.parser import Place
from dialplan_sms.outbox import gateways
from dialplan_sms.outbox.schema import gateway, message, now
from dialplan_sms.routes import curl
from dialplan_sms.sms import log
from dialplan_sms.sms.backup import send_rest
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Sms
from tests.unit.outbox.test_backup import REJECTED, SUCCESS, Pairs, pairs  # noqa: F401
from tests.unit.outbox.test_worker import LINE, NO_ANSWER, UNREACHABLE, Pbx
from tests.waiting import until

A, B, C = "+39333000001", "+39333000002", "+39333000003"
REFUSED = Outcome(Status.WARNING, Cause.NOT_QUEUED, "full", (B, C))
PARTLY = curl.together((B, C), {(B,): NO_ANSWER, (C,): SUCCESS})


def test_what_the_backup_sent_is_not_among_those_that_failed(pairs: Pairs) -> None:  # noqa: F811
    site = pairs()
    second = site.config.senders["102"]
    outcome = send_rest(REFUSED, Sms((A, B, C), "Hi"), site.sender, second, lambda _: PARTLY)
    assert (outcome.failed, outcome.unknown) == ((), (B,))
    site.outbox.record(Sms((A, B, C), "Hi"), site.sender, outcome)

    def states() -> list[str]:
        query = sa.select(message.c.state)
        return list(site.outbox.writer.do(lambda c: c.scalars(query).all(), 5.0))

    until(lambda: states() == ["unknown"])


@pytest.mark.parametrize(("delivery", "state"), [("at-least-once", "sent"), ("at-most-once", "unknown")])  # fmt: skip
def test_of_numbers_that_may_have_it_delivery_decides(
    pairs: Pairs, delivery: str, state: str  # noqa: F811
) -> None:  # fmt: skip
    site = pairs(delivery=delivery)
    first, backup = site.answer(REFUSED, PARTLY)
    with site.working(Pbx()):
        id_ = site.queue(A, B, C)
        until(lambda: site.story(id_))
        first.outcomes = [SUCCESS]
        site.wait(id_, state, hurry=True)
    assert [sms.numbers for sms in backup.sent] == [(B, C)]
    again = [(B,)] if state == "sent" else []
    assert [sms.numbers for sms in first.sent] == [(A, B, C), *again]


def test_a_backup_by_curl_gets_one_number_a_lease(pairs: Pairs) -> None:  # noqa: F811
    site = pairs()
    way = line.read(LINE, Place(Path("/x"), 1))
    second = replace(site.config.senders["102"], curl=way, success="OK", batch=1)
    site.config = replace(site.config, senders={"101": site.sender, "102": second})
    _, backup = site.answer(UNREACHABLE)
    with site.working(Pbx()):
        id_ = site.queue(A, B, C)
        site.wait(id_, "sent")
    assert [sms.numbers for sms in backup.sent] == [(A,), (B,), (C,)]
    assert len(site.story(id_)) == 3  # each recorded before the next


def test_the_log_has_no_text_as_the_backup_takes_it(pairs: Pairs) -> None:  # noqa: F811
    site = pairs()
    second, sms = replace(site.config.senders["102"], gsm7="plain"), Sms((A,), "žluťoučký kůň")
    outcome = send_rest(
        REJECTED, sms, site.sender, second,
        lambda its: error(Cause.REJECTED, f"spam: {its.text}", from_pbx=True),
    )  # fmt: skip
    assert "zlut" in outcome.reason
    assert "zlut" not in log.harmless(outcome, sms)


def test_what_is_rejected_has_its_turn_at_a_busy_backup(pairs: Pairs) -> None:  # noqa: F811
    site = pairs(pace=0.3)
    _, backup = site.answer(REJECTED)
    other = site.config.senders["102"]
    for _ in range(40):
        site.outbox.accept(Sms((A,), "bulk", other.gsm), other)
    with site.working(Pbx()):
        until(lambda: backup.sent)
        id_ = site.queue(B)
        until(lambda: site.story(id_))
    assert site.story(id_) == [("SUCCESS", "", "102")]


def test_the_backups_pause_for_a_list_is_longer_than_its_batch(pairs: Pairs) -> None:  # noqa: F811
    site = pairs(pace=5.0)
    senders = [site.sender, replace(site.config.senders["102"], batch=1)]
    do = site.outbox.writer.do
    assert do(lambda c: gateways.take(c, "102", "", 95.0), 5) is not None
    do(lambda c: gateways.mend_clock(c, senders), 5)
    left = sa.select(gateway.c.free_at - now()).where(gateway.c.sender == "102")
    assert (do(lambda c: c.scalar(left), 5) or 0.0) > 80.0
