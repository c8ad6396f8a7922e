"""The page over 100,000 SMS: quick, and along indexes."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dialplan_sms.outbox.store import Outbox
from dialplan_sms.web.board import HOURS, Board
from tests.unit.paged import Playground, fill

COUNT = 100_000
BOUND = 1.0  # seconds of the processor for an answer: other programs run on this machine
PATHS = (
    "/", "/?state=sent", "/?state=failed", "/?state=leased", "/?sender=101", "/?sender=nobody",
    "/?state=failed&sender=alarms", "/?number={}", "/?number={}&state=failed", "/?number=0612",
    "/?number=987654321", "/?number=777&state=failed&sender=102", "/?before=10000.0_10000",
    "/message/50000", "/phone", "/phone/{}",
)  # fmt: skip


@pytest.fixture(scope="module")
def outbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outbox]:
    it = Outbox(f"sqlite:///{tmp_path_factory.mktemp('speed')}/outbox.sqlite")
    fill(it, COUNT)
    yield it
    it.close()


@pytest.fixture
def get(outbox: Outbox) -> Iterator[Callable[[str], str]]:
    board = Board(outbox)
    client = TestClient(Starlette(routes=Playground().routes(board)))
    found = re.search(r"\+3906[0-9]{8}", client.get("/").text)
    assert found
    number = found[0].replace("+", "%2B")

    def answer(path: str) -> str:
        got = client.get(path.format(number))
        assert got.status_code == 200
        return got.text

    yield answer
    board.close()


@pytest.mark.parametrize("path", PATHS)
def test_the_page_answers_within_a_second(get: Callable[[str], str], path: str) -> None:
    get(path)
    began = time.process_time()
    get(path)
    assert time.process_time() - began < BOUND


def test_the_first_answer_does_not_wait_for_the_charts(outbox: Outbox) -> None:
    board = Board(outbox)
    began = time.process_time()
    board.figures()
    assert time.process_time() - began < BOUND
    while not board.figures().complete:
        assert time.process_time() - began < 5
    hours = board.figures().hours
    assert len(hours) == HOURS
    expected = COUNT / 72 * 0.92  # an hour of three days, as fill() has them
    assert all(abs((hour.sent or 0) - expected) < expected / 5 for hour in hours[1:-1])
    board.close()


def test_nothing_scans_a_table(outbox: Outbox, get: Callable[[str], str]) -> None:
    ran: dict[str, Any] = {}

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT"):
            ran.setdefault(statement, parameters)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    for path in PATHS:
        get(path)
    sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert len(ran) > 20
    with outbox.writer.engine.begin() as connection:
        for statement, parameters in ran.items():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            scans = [
                row[3] for row in plan if re.match("SCAN sms_(message|number|attempt)", row[3])
            ]
            bounded = "LIMIT" in statement and "ORDER BY sms_message.id DESC" in statement
            assert not scans or bounded, (statement, scans)
