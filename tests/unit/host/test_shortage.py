"""A host that is short says of what, and what to do; never that the program is to be blamed."""

import errno

import pytest

from dialplan_sms.config.config import Sender
from dialplan_sms.host import shortage
from dialplan_sms.routes.pbx import failed
from dialplan_sms.sms.outcome import Cause
from dialplan_sms.sms.sms import Draft
from dialplan_sms.transport.exchange import Stage, Unreached
from tests.unit.fakes import FakeRoute, service


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (
            RuntimeError("can't start new thread"),
            "no process or thread can be started: raise TasksMax=",
        ),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no process or thread"),
        (OSError(errno.EMFILE, "Too many open files"), "no file descriptor is left: raise Limit"),
        (OSError(errno.ENFILE, "Too many"), "no file descriptor is left on this host"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory is left on this host"),
        (MemoryError(), "no memory is left on this host"),
    ],
)
def test_what_is_short_is_named_and_nothing_sent(failure: Exception, says: str) -> None:
    def fail() -> None:
        raise failure

    outcome = service(FakeRoute(on_send=fail)).handle(Draft("+39333123456", "Hello")).outcome
    assert outcome.cause is Cause.INTERNAL
    assert outcome.reason.startswith(says)
    connecting = Unreached(Stage.CONNECTING, failure)
    for told, cause in ((failure, Cause.INTERNAL), (connecting, Cause.UNREACHABLE)):
        outcome = failed(told, Sender("101", "https://192.0.2.1", "x"))
        assert outcome.cause is cause
        assert outcome.reason.startswith(f"nothing was sent: {says}")


@pytest.mark.parametrize(
    "failure",
    [None, RuntimeError("broken"), OSError("broken"), ConnectionRefusedError(111, "refused"),
     TimeoutError(), ValueError()],
)  # fmt: skip
def test_nothing_else_is(failure: Exception | None) -> None:
    assert shortage(failure) == ""
