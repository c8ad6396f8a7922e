"""Other programs: what they may take of time, memory and our environment."""

import time

from dialplan_sms.host.process import NOT_ENDED, NOT_STARTED, Ran, run


def test_a_program_is_given_a_time() -> None:
    began = time.monotonic()
    ran = run(["sh", "-c", "sleep 30 & sleep 30"], 0.2)
    assert time.monotonic() - began < 3
    assert ran == Ran(NOT_ENDED, "no end within 0 s")
    assert run(["/nowhere/at/all"], 1) == Ran(NOT_STARTED, "No such file or directory")


def test_no_program_fills_the_memory() -> None:
    began = time.monotonic()
    ran = run(["sh", "-c", "echo begun; exec cat /dev/zero"], 30)
    assert time.monotonic() - began < 20
    assert ran.status not in (0, NOT_ENDED)
    assert ran.output.startswith("begun")
    assert len(ran.output) < 8 << 20


def test_what_a_program_leaves_running_takes_no_longer() -> None:
    began = time.monotonic()
    assert run(["sh", "-c", "setsid sleep 9 & exit 3"], 0.5).status == NOT_ENDED
    assert time.monotonic() - began < 5
    ran = run(["sh", "-c", "echo said; echo why >&2; exit 3"], 5)
    assert (ran.status, ran.last_line) == (3, "why")
