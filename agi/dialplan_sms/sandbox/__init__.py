"""A stand-in PBX: the SMS API over HTTP and HTTPS, with faults to order, for tests and demos.

::

    from dialplan_sms.sandbox import Fault, Sandbox

    with Sandbox() as sandbox:
        sandbox.fault = Fault.RESET
        ...                      # send to sandbox.url
        assert sandbox.messages == []

It needs the packages of the extra ``sandbox``. Only what is named here is loaded, when it is
named, so that the command line can say so where they are missing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dialplan_sms.sandbox.faults import Fault, Reply, Trouble
    from dialplan_sms.sandbox.inbox import Message, Served
    from dialplan_sms.sandbox.server import Sandbox
    from dialplan_sms.web.http.request import Request

__all__ = ["Fault", "Message", "Reply", "Request", "Sandbox", "Served", "Trouble"]

_HOMES = {
    "Fault": "sandbox.faults",
    "Message": "sandbox.inbox",
    "Reply": "sandbox.faults",
    "Request": "web.http.request",
    "Sandbox": "sandbox.server",
    "Served": "sandbox.inbox",
    "Trouble": "sandbox.faults",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"dialplan_sms.{_HOMES[name]}"), name)
