"""One call: the channel's variables say what to send, then what became of it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from asterisk.agi import AGIException

from dialplan_sms.agi.channel import Channel
from dialplan_sms.sms.outcome import Cause, Outcome, Refused, Status, safe_line, safe_number
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Draft

INPUTS = (
    "SMS_NUMBER", "number", "SMS_MESSAGE", "message", "SMS_GSM", "gsm",
    "SMS_POSTPONE", "SMS_SENDER", "SMS_MODE", "SMS_KEY",
)  # fmt: skip
OUTPUTS = ("SMS_STATUS", "SMS_CAUSE", "SMS_REASON", "SMS_FAILED", "SMS_ID", "SMS_VIA")
# Just before the request goes out: what is true if this process dies then.
_IF_IT_DIES = {"SMS_CAUSE": Cause.NO_ANSWER, "SMS_STATUS": Status.ERROR}
# Bytes of SMS_FAILED: it must end after a whole number, so the channel may not cut it.
_ROOM_FOR_FAILED = 2000


def call(
    channel: Channel,
    service: Service,
    arguments: Sequence[str] | None = None,
    began: float | None = None,
    refused: Refused | None = None,
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Serve one call: read the variables, send, set the variables, log.

    *arguments* are those of AGI(), else the environment's. *began* is on the service's clock;
    *refused* is what the door objects to; *ended* is called once the channel need not wait. Once
    the variables are read, nothing stops the SMS; before, AGIHangup is raised, nothing was sent.
    """
    handled = service.handle(
        _read(channel, arguments, refused), lambda: channel.set_tokens(_IF_IT_DIES), began
    )
    handled = replace(handled, outcome=handled.outcome.in_dialplan())
    _report(channel, handled.outcome)
    ended()
    service.log(handled)


def _read(channel: Channel, arguments: Sequence[str] | None, refused: Refused | None) -> Draft:
    """What the channel asks for; what an earlier SMS of the call left behind is cleared."""
    values = channel.read_variables((*INPUTS, *OUTPUTS))
    for name in OUTPUTS:
        if values[name]:
            # An earlier SMS of this call: what it left must not pass for this one's.
            with contextlib.suppress(AGIException):
                channel.set_variable(name, "")
    if arguments is None:
        arguments = channel.arguments
    number, message, gsm, postpone = (
        argument if argument.strip() else "" for argument in (*arguments, "", "", "", "")[:4]
    )
    if refused is None and len(arguments) > 4:
        refused = Refused(
            Cause.INVALID_MESSAGE,
            f"sms.agi takes 4 arguments and got {len(arguments)}: a text with commas is exact only"
            " in SMS_MESSAGE",
        )
    return Draft(
        number=number or values["SMS_NUMBER"] or values["number"],
        message=message or values["SMS_MESSAGE"] or values["message"],
        gsm=gsm or values["SMS_GSM"] or values["gsm"],
        postpone=postpone or values["SMS_POSTPONE"],
        sender=values["SMS_SENDER"].strip(),
        mode=values["SMS_MODE"].strip().lower(),
        call=channel.env.get("agi_uniqueid", ""),
        caller=channel.env.get("agi_callerid", "").replace("unknown", ""),
        key=values["SMS_KEY"].strip(),
        refused=refused,
    )


def _report(channel: Channel, outcome: Outcome) -> None:
    """Set the variables to *outcome*, SMS_STATUS last."""
    details = {
        "SMS_REASON": safe_line(outcome.reason),
        "SMS_FAILED": _join(outcome.failed),
        "SMS_VIA": safe_line(outcome.via),
    }
    # What is empty is so on the channel already: _read() saw to that, and a SET costs 0.1 ms.
    for name, value in details.items():
        if value:
            with contextlib.suppress(AGIException):  # one that fails takes no other along
                channel.set_variable(name, value)
    stored = {"SMS_ID": outcome.id} if outcome.id else {}
    verdict: dict[str, str] = {"SMS_CAUSE": outcome.cause, "SMS_STATUS": outcome.status}
    if not outcome.cause:
        # Never ERROR without a cause, not even for a moment.
        verdict = dict(reversed(verdict.items()))
    channel.set_tokens(stored | verdict)


def _join(numbers: Sequence[str]) -> str:
    """The numbers that fit, comma-separated; the last one is whole."""
    joined = ",".join(filter(None, map(safe_number, numbers)))
    return f"{joined},"[: _ROOM_FOR_FAILED + 1].rpartition(",")[0]
