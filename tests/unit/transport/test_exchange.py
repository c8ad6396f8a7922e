import threading
import time

import pytest

from dialplan_sms.transport.exchange import Watchdog


def test_actions_run_in_the_order_of_their_times() -> None:
    watchdog, ran, done = Watchdog(), list[int](), threading.Event()
    now = time.monotonic()
    watchdog.at(now + 0.2, lambda: ran.append(2))
    watchdog.at(now + 0.25, done.set)
    watchdog.at(now + 0.1, lambda: ran.append(1))
    assert done.wait(5)
    assert ran == [1, 2]
    assert time.monotonic() - now >= 0.25


def test_a_cancelled_alarm_never_rings() -> None:
    watchdog, ran, done = Watchdog(), list[int](), threading.Event()
    now = time.monotonic()
    alarm = watchdog.at(now + 1.0, lambda: ran.append(1))
    watchdog.at(now + 1.1, done.set)
    alarm.cancel()
    assert done.wait(5)
    assert ran == []


def test_an_action_that_fails_does_not_end_the_watch() -> None:
    watchdog, done = Watchdog(), threading.Event()

    def fail() -> None:
        raise OSError

    now = time.monotonic()
    watchdog.at(now, fail)
    watchdog.at(now + 0.1, done.set)
    assert done.wait(5)


def test_a_host_without_threads_for_a_moment_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog, done = Watchdog(), threading.Event()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            watchdog.at(time.monotonic(), done.set)
    watchdog.at(time.monotonic(), done.set)
    assert done.wait(5)
