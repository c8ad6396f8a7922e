"""What the SMS API's answer to a request without a number says. Pure."""

import re
from urllib.parse import urlsplit

from dialplan_sms.cli.check.finding import Finding, ok, warning, wrong
from dialplan_sms.config.config import Sender
from dialplan_sms.routes.reply import PERHAPS
from dialplan_sms.sms import api
from dialplan_sms.sms.outcome import Cause, Outcome, Status

CREDENTIALS, LENGTH = "credentials", "max_length"


def judge(sender: Sender, outcome: Outcome) -> Finding:
    """What the answer to a request with an empty number says about who asks."""
    of = sender.name
    if outcome.cause is Cause.UNAUTHORIZED:
        said = outcome.reason.rpartition(" - ")[2]
        if sender.token:
            return wrong(
                CREDENTIALS, f"the PBX refuses this token: {said}", f"a valid token in [{of}]", of
            )
        return wrong(
            CREDENTIALS,
            f"the PBX refuses user {of} and this password: {said}",
            f"[{of}] must be the PBX user; correct its password, or use token where the PBX takes"
            " no basic authorization",
            of,
        )
    if outcome.cause is Cause.REJECTED:
        if outcome.reason.lower() == api.EMPTY_NUMBER.lower():
            return ok(CREDENTIALS, "accepted (asked without a number, nothing sent)", of)
        return warning(
            CREDENTIALS,
            f"neither accepted nor refused, the PBX says: {outcome.reason[:150]}",
            "try an SMS from the web Collaboration as this user",
            of,
        )
    return wrong(CREDENTIALS, _without_doubt(outcome.reason), "check again", of)


def length(sender: Sender) -> Finding:
    """Whether the PBX can take what sms.conf lets through; what it takes, it does not tell."""
    most, of = sender.max_length, sender.name
    if most > api.MAX_LENGTH:
        says = f"{most} characters, and no PBX takes more than {api.MAX_LENGTH}"
        return warning(LENGTH, says, f"max_length = {api.MAX_LENGTH} in [{of}]", of)
    since = ", needs WMS 6.02.20230306.1 or newer" if most > api.OLD_MAX_LENGTH else ""
    return ok(LENGTH, f"{most} characters{since}", of)


def no_api(outcome: Outcome, url: str) -> tuple[str, str]:
    """What is wrong, and what to do, where the answer is not the API's."""
    reason = _without_doubt(outcome.reason).partition(" - perhaps")[0]
    if outcome.cause is Cause.NO_ANSWER:
        https = "does url need https? or " if url.startswith("http:") else ""
        return reason, f"{https}is the PBX overloaded, or another server on this port?"
    if outcome.cause is not Cause.BAD_ANSWER:
        said = outcome.status if outcome.status is not Status.ERROR else outcome.cause
        says = f"{said} for a request without a number: this is not the PBX's API"
        return says, "correct url in sms.conf"
    redirect = re.search(r"redirects to (\S+)", reason)
    if redirect:
        target = urlsplit(redirect[1])
        moved = f"{target.scheme}://{target.netloc}" if target.netloc else ""
        there = moved and not url.startswith(f"{moved}/")
        do = f"url = {moved}" if there else f"url without a path: {api.PATH} is added"
        return reason.partition(" - ")[0], do
    if "HTTP 404" in reason:
        path = urlsplit(url).path
        return f"HTTP 404, no SMS API at {path}", f"url without a path: {api.PATH} is added"
    if "HTTP 5" in reason:
        return reason, "see the PBX's own logs; a proxy in between?"
    return reason, "correct url in sms.conf: address, port, a proxy in between?"


def _without_doubt(reason: str) -> str:
    """Nothing was sent here, whatever a reason says of an SMS."""
    return re.sub(rf"[:,]? {PERHAPS}", "", reason)
