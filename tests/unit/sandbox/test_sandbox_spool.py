"""What the stand-in's simulated gateways make of what its API took, and its page."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from dialplan_sms.outbox.schema import attempt, message, number
from dialplan_sms.sandbox import Fault, Sandbox, Trouble
from dialplan_sms.sandbox.faults import TROUBLES
from dialplan_sms.sandbox.page import is_ours
from dialplan_sms.sandbox.spool import Gateway
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, error
from dialplan_sms.web.server import Address
from tests.waiting import until

NUMBER, OTHER = "+390612345601", "+390612345602"
ONE, TWO = "9c7514330001", "9c7514330002"


@contextmanager
def running(gateways: tuple[str, ...] = (ONE, TWO), **options: Any) -> Iterator[Sandbox]:
    with Sandbox(tls=False, gateways=gateways, spool=True, **{"pace": 0, **options}) as sandbox:
        yield sandbox


def post(
    sandbox: Sandbox, text: str = "hello", gsm: str = ONE, to: str = NUMBER, user: str = "101",
    path: str = api.PATH, headers: dict[str, str] | None = None, **form: str,
) -> Any:  # fmt: skip
    form |= {"number": to, "message": text, "gsm": gsm}
    auth = (user, "sms101api")
    return requests.post(sandbox.url + path, form, auth=auth, headers=headers, timeout=5).json()


def find(sandbox: Sandbox, query: sa.Select[Any]) -> Any:
    """What the spool has of it."""
    return sandbox.spool.outbox.writer.do(lambda c: c.execute(query).all(), 5.0)


def spooled(sandbox: Sandbox) -> dict[str, Any]:
    """The rows of the spool by their text."""
    return {row.text: row for row in find(sandbox, sa.select(message))}


def states(sandbox: Sandbox) -> dict[str, str]:
    return {text: row.state for text, row in spooled(sandbox).items()}


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
            post(sandbox, text, gsm, user=user)
        until(lambda: set(states(sandbox).values()) == {"sent"})
        sent = find(sandbox, sa.select(message.c.gsm, attempt.c.at).join_from(message, attempt))

    times = {mac: sorted(at for gsm, at in sent if gsm == mac) for mac in (ONE, TWO)}
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
        assert sandbox.spool.waiting() == {ONE: 0, TWO: 0}  # it is not due

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
        numbers = find(sandbox, sa.select(number.c.number))
        assert sandbox.spool.waiting() == {ONE: 2, TWO: 0}

    assert reply == api.warning(["12x"])
    assert sorted(numbers) == [(NUMBER,), (OTHER,)]


def test_without_a_gateway_every_number_is_refused() -> None:
    with running(gateways=()) as sandbox:
        assert post(sandbox, gsm="", to=f"{NUMBER},{OTHER}") == api.warning([NUMBER, OTHER])
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


def test_to_close_it_amid_a_send_takes_a_second_and_leaves_nothing(
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
    before = {*threading.enumerate()}
    with running() as sandbox:
        post(sandbox)
        post(sandbox, gsm=TWO, to=",".join(f"+3906123456{each:02}" for each in range(50)))
        requests.get(sandbox.url, timeout=5)
        assert [each.name[:19] for each in tmp_path.iterdir()] == ["dialplan-sms-spool-"]
        assert sending.wait(5)
        began = time.monotonic()
    took = time.monotonic() - began

    done.set()
    until(lambda: {*threading.enumerate()} <= before)
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


# Its page.


@pytest.mark.parametrize(
    ("to", "fault", "told", "taken"),
    [
        (NUMBER, None, f"Success: in the spool of {ONE}", 1),
        (f"{NUMBER},1x", None, "Warning: Unable to add a SMS to the queue: 1x", 1),
        ("", None, "Error: Number should not be empty", 0),
        (NUMBER, "reject", "Error: SMS sending is not allowed", 0),
        (NUMBER, "hang", "Fault hang: never answers - nothing was taken", 0),
        ("+99900000105", None, "Fault taken-html: status 200 with a web page - the message was taken", 1),
        (NUMBER, "slow", f"Fault slow: the proper answer, 1.5 s late - the message was taken. Success: in the spool of {ONE}", 1),
    ],
)  # fmt: skip
def test_a_test_is_answered_as_any_request(
    to: str, fault: str | None, told: str, taken: int
) -> None:
    with running() as sandbox:
        assert sandbox.page is not None
        sandbox.pbx.faults.set(TROUBLES[fault] if fault else None)

        assert sandbox.page.send_test(to, "hi", ONE) == told

        assert len(sandbox.requests) == 1
        assert len(sandbox.messages) == len(spooled(sandbox)) == taken


def test_the_page_answers_to_no_foreign_name_and_the_api_to_any() -> None:
    with running() as sandbox:

        def get(path: str, host: str = "evil.example") -> requests.Response:
            url, headers = sandbox.url + path, {"Host": host}
            return requests.get(url, headers=headers, allow_redirects=False, timeout=5)

        for path in ("/", "/phone", "/static/page.css", "/message/1"):
            refused = get(path)
            assert (refused.status_code, refused.text.count("\n")) == (421, 1), path
            assert get(path, "localhost:8443").status_code != 421, path
        for path in (api.PATH, api.OLD_PATH):
            assert post(sandbox, path=path, headers={"Host": "evil.example"}) == api.result()
        for path in ("/nothing", "/message/1/", "/message/1%2f", "/phone/"):
            assert get(path).status_code == 404, path
        assert len(sandbox.requests) == 6
        described = get("/openapi.json", "localhost").json()["paths"]
        assert (api.PATH in described, "/" in described) == (True, False)


@pytest.mark.parametrize(
    ("host", "listen", "ours"),
    [
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:8443", "127.0.0.1", True),
        ("127.0.0.1:8443", "127.0.0.1", True),
        ("[::1]:8443", "127.0.0.1", True),
        ("", "127.0.0.1", False),
        ("localhost.evil.example", "127.0.0.1", False),
        ("127.0.0.1.evil.example:8443", "127.0.0.1", False),
        ("192.0.2.1", "127.0.0.1", False),
        ("pbx.example.com:8443", "pbx.example.com", True),
        ("evil.example", "pbx.example.com", False),
        ("[2001:db8::1]:8443", "2001:db8::1", True),
        ("192.0.2.1:8443", "0.0.0.0", True),
        ("[2001:db8::1]", "::", True),
        ("evil.example:8443", "0.0.0.0", False),
    ],
)
def test_which_names_are_ours(host: str, listen: str, ours: bool) -> None:
    assert is_ours(host, Address(listen, 8443)) is ours
