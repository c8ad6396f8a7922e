"""What one sender certainly did not send goes to its backup."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from dialplan_sms.config.config import Sender
from dialplan_sms.sms import length, log
from dialplan_sms.sms.outcome import NOBODY_KNOWS, Cause, Outcome, Status, failed
from dialplan_sms.sms.sms import Sms


def outcome_of(send: Callable[[], Outcome], numbers: Sequence[str] = ()) -> Outcome:
    """What *send* gives, whatever it raises: the other sender is still to be asked.

    A warning that names none of the *numbers* it went to says of none what became of it.
    """
    try:
        outcome = send()
    except Exception as failure:  # noqa: BLE001
        return failed(failure)
    named = outcome.unknown or outcome.unsent(numbers)
    if numbers and outcome.status is Status.WARNING and not named:
        return replace(outcome, cause=Cause.BAD_ANSWER, failed=())
    return outcome


def fit(sms: Sms, backup: Sender) -> Sms:
    """*sms* as it goes by *backup*: by the gateway of that, and as long as that takes texts.

    Where it may go, and how often, is for the sender that was asked. Raises Refused.
    """
    text = length.fit(sms.text, backup)["text"]
    return replace(sms, text=text, gsm=backup.gsm, to_pbx=backup.is_pbx)


def send_fitted(sms: Sms, backup: Sender, send: Callable[[Sms], Outcome]) -> Outcome:
    """As outcome_of(), of *sms* as it fits *backup*: the log has no text, nor that of its own."""
    its = sms

    def sent() -> Outcome:
        nonlocal its
        its = fit(sms, backup)
        return send(its)

    outcome = outcome_of(sent, sms.numbers)
    return replace(outcome, for_log=log.harmless(outcome, its))


def send_rest(
    first: Outcome, sms: Sms, asked: Sender, backup: Sender, send: Callable[[Sms], Outcome]
) -> Outcome:
    """Have *backup* *send* to those numbers that certainly got nothing by *asked*, if any.

    *first* is how that ended; what is returned is how both did.
    """
    rest = first.unsent(sms.numbers)
    if not rest:
        return first
    second = send_fitted(replace(sms, numbers=rest), backup, send)
    carried = second.status is not Status.ERROR or second.cause in NOBODY_KNOWS
    partly = first.status is Status.WARNING and second.status is not Status.SUCCESS
    said = [f"{asked.name}: {first.reason}"]
    said += [f"{backup.name}: {second.reason}"] if second.reason else []
    noted = [f"{asked.name}: {first.for_log or first.reason}"]
    noted += [f"{backup.name}: {second.for_log}"] if second.for_log else []
    return replace(
        second if carried else first,
        status=Status.WARNING if partly else second.status,
        reason=" - ".join(said),
        for_log=" - ".join(noted),
        failed=second.failed or (first.failed if partly and not second.unknown else ()),
        from_pbx=first.from_pbx or second.from_pbx,
        via=backup.name if carried else "",
    )
