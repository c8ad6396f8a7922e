"""One call: what the channel asks for, to the service; its Outcome, back to the channel."""

import contextlib
from collections.abc import Sequence

from asterisk.agi import AGIException

from dialplan_sms.channel import Channel
from dialplan_sms.outcome import Cause, Outcome, Refused, Status, error, safe_line, safe_number
from dialplan_sms.service import Service
from dialplan_sms.sms import Draft

_READ = (
    "SMS_NUMBER", "number", "SMS_MESSAGE", "message", "SMS_GSM", "gsm",
    "SMS_POSTPONE", "SMS_SENDER", "SMS_MODE", "SMS_STATUS",
)  # fmt: skip
_ROOM_FOR_FAILED = 2000
"""Bytes of SMS_FAILED: it must end after a whole number, so the channel may not cut it."""


def call(channel: Channel, service: Service, arguments: Sequence[str] | None = None) -> None:
    """Carry one call through: read the variables, send, set the variables.

    *arguments* are those of AGI(); without them the environment's are taken. Once the variables
    are read, nothing that happens to the channel stops the SMS.
    """
    try:
        values = channel.read_variables(_READ)
        if values["SMS_STATUS"]:
            # An earlier SMS of this call: its status must not pass for this one's.
            channel.set_variable("SMS_STATUS", "")
    except AGIException:
        return  # the call is gone before it said what to send
    if arguments is None:
        arguments = channel.arguments
    try:
        draft = _draft(values, arguments, channel.env.get("agi_uniqueid", ""))
    except Refused as refused:
        outcome = error(refused.cause, refused.reason)
        service.record(Draft(call=channel.env.get("agi_uniqueid", "")), outcome)
    else:
        outcome = service.handle(draft, going_out=lambda: _announce(channel))
    with contextlib.suppress(AGIException):
        _report(channel, outcome)


def _draft(values: dict[str, str], arguments: Sequence[str], call_id: str) -> Draft:
    if len(arguments) > 4:
        raise Refused(
            Cause.INVALID_MESSAGE,
            f"sms.agi takes 4 arguments and got {len(arguments)}: a text with commas is exact only"
            " in SMS_MESSAGE",
        )
    number, message, gsm, postpone = (*arguments, "", "", "", "")[:4]
    return Draft(
        number=number or values["SMS_NUMBER"] or values["number"],
        message=message or values["SMS_MESSAGE"] or values["message"],
        gsm=gsm or values["SMS_GSM"] or values["gsm"],
        postpone=postpone or values["SMS_POSTPONE"],
        sender=values["SMS_SENDER"].strip(),
        mode=values["SMS_MODE"].strip().lower(),
        call=call_id,
    )


def _announce(channel: Channel) -> None:
    """Just before the request goes out: what holds if nobody comes back to say more."""
    with contextlib.suppress(AGIException):
        channel.set_variable("SMS_CAUSE", Cause.NO_ANSWER)
        channel.set_variable("SMS_STATUS", Status.ERROR)


def _report(channel: Channel, outcome: Outcome) -> None:
    channel.set_variable("SMS_REASON", safe_line(outcome.reason))
    channel.set_variable("SMS_FAILED", _join(outcome.failed))
    channel.set_variable("SMS_ID", outcome.id)
    verdict = [("SMS_CAUSE", outcome.cause), ("SMS_STATUS", outcome.status)]
    if not outcome.cause:
        verdict.reverse()  # never ERROR without a cause, not even for a moment
    for name, value in verdict:
        channel.set_variable(name, value)


def _join(numbers: Sequence[str]) -> str:
    """The numbers that fit, comma-separated; the last one is whole."""
    joined = ""
    for number in filter(None, map(safe_number, numbers)):
        longer = f"{joined},{number}" if joined else number
        if len(longer) > _ROOM_FOR_FAILED:
            break
        joined = longer
    return joined
