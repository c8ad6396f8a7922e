"""``dialplan-sms status``, and the figures that it shows."""

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result
from prometheus_client import generate_latest

from dialplan_sms.agi.doors import Capacity
from dialplan_sms.cli import main
from dialplan_sms.config.config import Sender
from dialplan_sms.daemon.monitor import Metrics
from dialplan_sms.daemon.storage import Storage
from dialplan_sms.outbox.history.statistics import Overview
from dialplan_sms.sms.outcome import Cause, Outcome, Status, error
from dialplan_sms.sms.sms import Handled, Sms
from tests.unit import asking, checked

NUMBER = "+39069999001"
SENDER = Sender(name="101", url="https://192.0.2.1", password="x")
SEEN = Overview({"pending": 3, "leased": 0, "sending": 1}, 0.0, {}, 2, 750.0, 40.0)
Configure = Callable[[int], Path]


@pytest.fixture
def configure(sms_conf: Callable[[str], Path]) -> Configure:
    """Writes an sms.conf with that port of the monitor."""
    sender = "[{}]\nurl = http://192.0.2.1\npassword = x\n"
    senders = f"{sender.format(101)}backup = 102\n{sender.format(102)}"
    return lambda port: sms_conf(f"[general]\nmonitor = 127.0.0.1:{port}\n{senders}")


def status(conf: Path) -> Result:
    return CliRunner().invoke(main.main, ["status", "--config", str(conf)])


def handled(outcome: Outcome) -> Handled:
    return Handled("1.1", "101", Sms((NUMBER,), "Hello"), outcome, 0.04)


def stored(seen: Overview) -> Any:
    """A Storage that sees this."""
    return SimpleNamespace(seen=seen, ask=lambda: seen, failing={})


def shown(conf: Configure, watch: Metrics) -> list[str]:
    result = status(conf(asking.serve(watch)))
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.output.splitlines()]


def test_what_workers_did_is_shown_and_counted(configure: Configure) -> None:
    # given a service whose workers sent, failed, and will try again
    watch = Metrics(Capacity(1), storage=stored(SEEN))
    watch.worked("sent", 1, handled(Outcome(Status.SUCCESS)))
    watch.worked("sent", 1, handled(Outcome(Status.SUCCESS)))
    watch.worked("pending", 1, handled(Outcome(Status.SUCCESS)))  # the rest of a list
    watch.worked("failed", 1, handled(error(Cause.REJECTED, "no such gateway")))
    watch.worked("pending", 1, handled(error(Cause.UNREACHABLE, "no route to host")))
    watch.worked("expired", 7)
    # then
    lines = shown(configure, watch)
    assert "by workers 2 sent, 1 failed, 1 tried again, 7 expired" in lines
    errors = "\n".join(lines).partition("last failures of queued SMS")[2]
    assert "no such gateway" in errors
    assert "no route to host" in errors
    assert NUMBER not in errors
    metrics = generate_latest(watch.registry).decode()
    for state, count in (("sent", 2), ("failed", 1), ("again", 1), ("expired", 7)):
        assert f'dialplan_sms_worker_sms_total{{state="{state}"}} {count}.0' in metrics


def test_what_waits_is_shown_and_scraping_looks_at_nothing(configure: Configure) -> None:
    storage = stored(Overview({}, 0.0, {}))
    storage.ask = Mock(return_value=SEEN)
    watch = Metrics(Capacity(1), storage=storage)
    generate_latest(watch.registry)
    storage.ask.assert_not_called()
    lines = shown(configure, watch)
    storage.ask.assert_called_once()
    assert "outbox 3 pending (2 due), 1 sending" in lines
    assert "oldest was to be sent 0 h 12 min ago" in lines
    assert any(line.startswith("next try in 40 s, 20") for line in lines)


@pytest.mark.parametrize("cause", ["UNAUTHORIZED", "UNREACHABLE"])
def test_a_held_sender_is_shown_and_who_sends_meanwhile(configure: Configure, cause: str) -> None:
    held = Overview({"pending": 1}, 0.0, {"101": cause}, 1, 5.0, 90.0, {"101": 90.0})
    lines = " ".join(shown(configure, Metrics(Capacity(1), storage=stored(held))))
    assert f"held all SMS of sender 101: {cause}, next try in 90 s, 20" in lines
    assert "; what is overdue goes by 102" in lines


def test_what_a_backup_sent_is_among_the_errors(configure: Configure) -> None:
    watch = Metrics(Capacity(1), storage=stored(SEEN))
    by_backup = Outcome(Status.SUCCESS, reason="101: no route to host", via="102")
    watch.called(handled(by_backup))
    watch.worked("pending", 1, handled(by_backup))  # the rest of a list
    lines = shown(configure, watch)
    assert len([line for line in lines if "via=102" in line]) == 2
    assert "by workers nothing yet" in lines


def test_a_program_that_was_not_told_is_shown(configure: Configure) -> None:
    storage = stored(SEEN)
    storage.failing["/x"] = "/x was not told of 1 SMS, the first is 12: exit status 3"
    lines = shown(configure, Metrics(Capacity(1), storage=storage))
    assert "on_failure /x was not told of 1 SMS, the first is 12: exit status 3" in lines


def test_a_service_without_an_outbox_says_nothing_of_one(configure: Configure) -> None:
    lines = shown(configure, Metrics(Capacity(1)))
    assert not [line for line in lines if line.startswith(("outbox", "by workers"))]


def test_a_service_that_does_not_run_is_said_in_plain_words(configure: Configure) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = status(configure(port))
    assert result.exit_code == 1
    assert result.output == (
        f"Error: the service does not run, nothing listens on 127.0.0.1 port {port}: systemctl"
        " status dialplan-sms, and monitor in sms.conf\n"
    )


def test_another_program_on_the_port_is_not_taken_for_the_service(configure: Configure) -> None:
    with checked.stranger() as port:
        result = status(configure(port))
    assert result.output == f"Error: what answers on 127.0.0.1 port {port} is not dialplan-sms\n"


def test_who_asks_sees_what_is_new(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dialplan_sms.daemon.storage._FRESH", 60.0)
    # given a storage that was looked at, and something stored since
    storage = Storage(database)
    storage.seen, trouble = storage.look(5.0, 5.0)
    assert trouble == ""
    storage.outbox.accept(Sms((NUMBER,), "Hello"), SENDER)
    # then what it saw is old, and what it is asked for is not
    assert storage.seen is not None
    assert storage.seen.counts["pending"] == 0
    found = storage.ask()
    assert found is not None
    assert (found.counts["pending"], found.due, found.next_try) == (1, 1, 0.0)
    # and many who ask at once cost one look
    storage.outbox.accept(Sms((NUMBER,), "Hello"), SENDER)
    assert storage.ask() is found
    monkeypatch.setattr("dialplan_sms.daemon.storage._FRESH", 0.0)  # a second later
    again = storage.ask()
    assert again is not None
    assert again.due == 2
    storage.outbox.close()
