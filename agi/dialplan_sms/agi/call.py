"""One call: what the channel asks for, to the service; its Outcome, back to the channel."""

from collections.abc import Sequence

from dialplan_sms.agi import variables
from dialplan_sms.agi.channel import Channel
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Handled

_GRACE = 3.0
"""Seconds that a dialogue may last beyond the longest call_timeout: the outcome is told last."""


def call(
    channel: Channel,
    service: Service,
    arguments: Sequence[str] | None = None,
    began: float | None = None,
    refused: Refused | None = None,
) -> Handled:
    """Serve one call: read the variables, send, set the variables.

    The caller passes the result to service.log(), once the channel need not wait for that.

    *arguments* are those of AGI(); without them the environment's are taken. *began* is when the
    call came in, on the service's clock; *refused* is what the door objects to. Once the variables
    are read, nothing that happens to the channel stops the SMS; before, AGIHangup is raised and
    nothing was sent.
    """
    draft = variables.read(channel, arguments, refused)
    handled = service.handle(draft, lambda: variables.announce(channel), began)
    variables.report(channel, handled.outcome)
    return handled


def busy(objection: str) -> Refused | None:
    """What a door objects to that has no room; None if *objection* is empty."""
    return Refused(Cause.BUSY, objection) if objection else None


def latest(service: Service, began: float, objection: str) -> float:
    """When a dialogue must be over; one that is told BUSY takes no more than a moment."""
    return began + (0 if objection else service.longest) + _GRACE
