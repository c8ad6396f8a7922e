"""The words of the PBX's SMS API, named once for the client, the stand-in and the tests.

Source: the vendor's page "How to send SMS from Dialplan using SMS API".
"""

from collections.abc import Sequence
from typing import Any

from dialplan_sms.config.values import PATH as PATH

# The oldest versions of the vendor's page misspell the path; PBXs answer there, too.
OLD_PATH = "/api/v1/orginate/sms"
RESULT, WARNING, ERROR = "result", "warning", "error"  # the values of a reply's ``type``
SUCCESS = "Success"
UNAUTHORIZED = "Unauthorized"
EMPTY_NUMBER = "Number should not be empty"
NOT_ADDED = "Unable to add a SMS to the queue"
# What a PBX since WMS 6.02.20230306.1 replaces with a space in a message.
REPLACED = "'\"\\/"
# Characters of a message: since WMS 6.02.20230306.1, and before.
MAX_LENGTH, OLD_MAX_LENGTH = 670, 300
POSTPONE_FORMAT = "%d/%m/%Y %H:%M"


def result() -> dict[str, Any]:
    """The reply to a request that the PBX took whole."""
    return {"type": RESULT, "result": SUCCESS}


def warning(numbers: Sequence[str], reason: str = NOT_ADDED) -> dict[str, Any]:
    """The reply to a request that the PBX took but for *numbers*."""
    return {"type": WARNING, "reason": reason, "result": list(numbers)}


def error(reason: str) -> dict[str, Any]:
    """The reply to a request that the PBX did not take."""
    return {"type": ERROR, "reason": reason, "result": None}
