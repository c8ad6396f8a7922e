"""What the stand-in's simulated gateways make of what its API took."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from dialplan_sms.outbox.schema import attempt, message, number
from dialplan_sms.sandbox import Fault, Sandbox, Trouble
from dialplan_sms.sandbox.pbx import Inbox, Pbx, Request
from dialplan_sms.sandbox.spool import Gateway
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, error
from tests.unit.spooling import AUTH, NUMBER, ONE, OTHER, TWO, post, running, spooled, states
from tests.waiting import until


def sent_at(sandbox: Sandbox) -> dict[str, list[float]]:
    """When each gateway sent, by its MAC."""
    query = sa.select(message.c.gsm, attempt.c.at).join_from(message, attempt)
    times: dict[str, list[float]] = {}
    for gsm, at in sandbox.spool.outbox.writer.do(lambda c: c.execute(query).all(), 5.0):
        times[gsm] = sorted([*times.get(gsm, []), at])
    return times


def test_success_means_that_it_is_in_the_spool_and_then_it_is_sent() -> None:
    with running() as sandbox:
        sandbox.spool.set_online(ONE, False)

        reply = post(sandbox, "it's\nhere")
        first = spooled(sandbox)["it s\nhere"]
        sandbox.spool.set_online(ONE, True)
        until(lambda: states(sandbox) == {"it s\nhere": "sent"})

        assert reply == api.result()
        assert first.state in ("pending", "sending")
        assert (first.caller, first.gsm) == ("101", ONE)
        assert [taken.original for taken in sandbox.messages] == ["it's\nhere"]


def test_each_gateway_has_a_pace_of_its_own() -> None:
    with running(pace=0.5, users={"101": "sms101api", "102": "sms101api"}) as sandbox:
        began = time.time()
        post(sandbox, "a", to=f"{NUMBER},{OTHER}")
        for text, gsm, user in (("b", ONE, "102"), ("c", TWO, "101"), ("d", TWO, "102")):
            form = {"number": NUMBER, "message": text, "gsm": gsm}
            requests.post(sandbox.url + api.PATH, form, auth=(user, "sms101api"), timeout=5)
        until(lambda: set(states(sandbox).values()) == {"sent"})
        times = sent_at(sandbox)

    assert {mac: len(at) for mac, at in times.items()} == {ONE: 3, TWO: 2}
    # Each begins so much later than the one before, and is noted once it is over.
    assert times[ONE][2] - began > 0.95
    assert times[TWO][1] - began > 0.45
    assert times[TWO][0] < times[ONE][2]


def test_what_an_offline_gateway_has_waits_while_the_other_goes_on() -> None:
    with running() as sandbox:
        sandbox.spool.set_online(ONE, False)
        for text, gsm in (("a", ONE), ("b", TWO), ("c", ONE), ("d", TWO)):
            post(sandbox, text, gsm)
        until(lambda: states(sandbox) == {"a": "pending", "b": "sent", "c": "pending", "d": "sent"})
        until(lambda: sandbox.spool.waiting() == {ONE: 2, TWO: 0})
        until(lambda: spooled(sandbox)["a"].attempts > 0)
        reason = spooled(sandbox)["a"].reason
        time.sleep(0.6)  # it is looked for more often
        post(sandbox, "e", TWO)
        until(lambda: states(sandbox)["e"] == "sent")
        assert states(sandbox)["c"] == "pending"

        sandbox.spool.set_online(ONE, True)
        until(lambda: set(states(sandbox).values()) == {"sent"})

        assert reason == f"the gateway {ONE} is offline"
        assert sandbox.spool.waiting() == {ONE: 0, TWO: 0}


def test_a_gateway_that_comes_back_amid_a_try_is_tried_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running() as sandbox:
        back = threading.Event()

        def send(self: Gateway, *_: object) -> Outcome:
            if back.is_set():
                return real(self, *_)  # type: ignore[arg-type]
            sandbox.spool.set_online(ONE, True)
            back.set()
            time.sleep(0.8)  # the worker has heard of it meanwhile, and now it is put off
            return error(Cause.UNREACHABLE, "offline")

        real = Gateway.send
        monkeypatch.setattr(Gateway, "send", send)

        post(sandbox)

        until(lambda: states(sandbox) == {"hello": "sent"}, seconds=4.0)


def test_a_postponed_message_waits_for_the_local_time_of_the_pbx() -> None:
    tomorrow = (datetime.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    with running() as sandbox:
        post(sandbox, "later", postpone=f"{tomorrow:%d/%m/%Y %H:%M}")
        post(sandbox, "never", postpone="31/12/9999 23:59")
        post(sandbox, "past", postpone="01/01/0001 00:00")
        post(sandbox, "this minute", postpone=f"{datetime.now():%d/%m/%Y %H:%M}")
        until(lambda: [*states(sandbox).values()].count("sent") == 2)
        time.sleep(0.6)
        before = spooled(sandbox)

        due = message.update().where(message.c.text == "later").values(due=time.time())
        sandbox.spool.outbox.writer.do(lambda c: c.execute(due) and None, 5.0)
        until(lambda: states(sandbox)["later"] == "sent")

    assert {text: row.state for text, row in before.items()} == {
        "later": "pending", "never": "pending", "past": "sent", "this minute": "sent",
    }  # fmt: skip
    assert before["later"].planned == tomorrow.timestamp()


def test_refused_numbers_are_warned_about_and_the_rest_is_spooled_once() -> None:
    with running() as sandbox:
        sandbox.spool.set_online(ONE, False)
        reply = post(sandbox, to=f"{NUMBER},12x,{OTHER},{NUMBER}")
        query = sa.select(number.c.number)
        numbers = sandbox.spool.outbox.writer.do(lambda c: c.scalars(query).all(), 5.0)

    assert reply == api.warning(["12x"])
    assert sorted(numbers) == [NUMBER, OTHER]


def test_without_a_gateway_every_number_is_refused() -> None:
    with Sandbox(tls=False, gateways=(), spool=True) as sandbox:
        form = {"number": f"{NUMBER},{OTHER}", "message": "hello"}
        reply = requests.post(sandbox.url + api.PATH, form, auth=AUTH, timeout=5).json()

        assert reply == api.warning([NUMBER, OTHER])
        assert spooled(sandbox) == {}
        assert sandbox.spool.waiting() == {}


def test_what_cannot_be_spooled_is_not_added_to_the_queue() -> None:
    with running() as sandbox:
        sandbox.pbx.spool = lambda _: False

        reply = post(sandbox, to=f"{NUMBER},12x")

        assert reply == api.warning(["12x", NUMBER])
        assert sandbox.messages == []


def test_a_message_whose_answer_is_lost_is_sent_if_it_was_taken() -> None:
    with running() as sandbox:
        for trouble in (Trouble(Fault.CLOSE), Trouble(Fault.CLOSE, taken=True)):
            sandbox.fail(trouble)
            with pytest.raises(requests.ConnectionError):
                post(sandbox, str(trouble))

        until(lambda: states(sandbox) == {"taken-close": "sent"})


# How it ends, and what it costs.


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.is_alive()}


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("dialplan-sms-*"))


def test_to_close_it_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = threads()
    with running() as sandbox:
        for _ in range(10):
            post(sandbox, to=",".join(f"+3906123456{each:02}" for each in range(50)))
        assert len(folders()) == 1
        requests.get(sandbox.url, timeout=5)

    until(lambda: threads() <= before)
    assert [*tmp_path.iterdir()] == []


def test_to_close_it_amid_a_send_takes_a_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sending, done = threading.Event(), threading.Event()

    def send(_: Gateway, __: object, going_out: Callable[[], None], ___: object) -> Outcome:
        going_out()
        sending.set()
        done.wait(10)
        return error(Cause.NO_ANSWER, "late")

    monkeypatch.setattr(Gateway, "send", send)
    before = threads()
    with running() as sandbox:
        post(sandbox)
        assert sending.wait(5)
        began = time.monotonic()
    took = time.monotonic() - began

    done.set()
    until(lambda: threads() <= before)
    assert took < 3
    assert [*tmp_path.iterdir()] == []


def test_it_can_be_started_again() -> None:
    with running() as sandbox:
        post(sandbox, "a")
        sandbox.stop()
        sandbox.start()
        post(sandbox, "b")
        until(lambda: states(sandbox) == {"a": "sent", "b": "sent"})
        sandbox.close()
        sandbox.start()

        assert spooled(sandbox) == {}


def test_without_a_spool_nothing_of_it_is_loaded() -> None:
    code = (
        "import sys\n"
        "from dialplan_sms.sandbox import Sandbox\n"
        "with Sandbox() as sandbox: sandbox.url\n"
        "print({'sqlalchemy', 'jinja2', 'dialplan_sms.outbox.worker'} & {*sys.modules})"
    )
    folder = Path(__file__).parents[3] / "agi"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=folder.parent, env={"PYTHONPATH": str(folder)},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert shown.stdout == "set()\n", shown.stderr
    with Sandbox(tls=False) as sandbox:
        assert not hasattr(sandbox, "spool")


def test_an_inbox_keeps_no_more_than_it_may() -> None:
    pbx = Pbx(inbox=Inbox(2))
    arrived = [
        Request("POST", api.PATH, (("number", NUMBER), ("message", str(each))), "101")
        for each in range(5)
    ]
    for request in arrived:
        pbx.handle(request)

    assert pbx.inbox.requests == arrived[3:]
    assert [message.text for message in pbx.inbox.messages] == ["3", "4"]
