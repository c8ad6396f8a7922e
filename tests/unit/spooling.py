"""A sandbox that spools, for tests, and a look into its spool."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import sqlalchemy as sa

from dialplan_sms.outbox.schema import message
from dialplan_sms.sandbox import Sandbox
from dialplan_sms.sms import api

AUTH = ("101", "sms101api")
NUMBER, OTHER = "+390612345601", "+390612345602"
ONE, TWO = "9c7514330001", "9c7514330002"


@contextmanager
def running(pace: float = 0, **options: Any) -> Iterator[Sandbox]:
    with Sandbox(tls=False, gateways=(ONE, TWO), spool=True, pace=pace, **options) as sandbox:
        yield sandbox


def post(
    sandbox: Sandbox, text: str = "hello", gsm: str = ONE, to: str = NUMBER, **form: str
) -> Any:
    form |= {"number": to, "message": text, "gsm": gsm}
    return requests.post(sandbox.url + api.PATH, form, auth=AUTH, timeout=5).json()


def spooled(sandbox: Sandbox) -> dict[str, Any]:
    """The rows of the spool by their text."""
    query = sa.select(message)
    rows = sandbox.spool.outbox.writer.do(lambda c: c.execute(query).all(), 5.0)
    return {row.text: row for row in rows}


def states(sandbox: Sandbox) -> dict[str, str]:
    return {text: row.state for text, row in spooled(sandbox).items()}
