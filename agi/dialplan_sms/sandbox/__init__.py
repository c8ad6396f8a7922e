"""A stand-in PBX: the SMS API over HTTP and HTTPS, with faults to order, for tests and demos.

::

    with Sandbox() as sandbox:
        sandbox.fault = Fault.RESET
        ...                      # send to sandbox.url
        assert sandbox.messages == []

The packages of the extra ``sandbox`` are loaded with Sandbox alone: ``--help`` needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dialplan_sms.sandbox.faults import Fault, Reply, Trouble
from dialplan_sms.sandbox.pbx import Message, Request, Served

if TYPE_CHECKING:
    from dialplan_sms.sandbox.server import Sandbox

__all__ = ["Fault", "Message", "Reply", "Request", "Sandbox", "Served", "Trouble"]


def __getattr__(name: str) -> Any:
    return getattr(import_module("dialplan_sms.sandbox.server"), name)
