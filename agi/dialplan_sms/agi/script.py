"""The door of sms.agi: one call on stdin and stdout, in this process."""

import contextlib
import os
import signal
import sys
import time
from typing import NoReturn

from dialplan_sms.agi.channel import Channel
from dialplan_sms.agi.stream import Stream

LONGEST_CALL = 40  # seconds after which the kernel ends the script, if Asterisk never answers it
_LONGEST_DIALOGUE = 330  # seconds; the alarm of the call's own call_timeout comes before


def main() -> NoReturn:
    """Serve the call and leave; never raises, never returns."""
    try:
        # The signal's default action: no handler of Python's would run while C code is stuck.
        signal.alarm(LONGEST_CALL)
        _serve()
    finally:
        # Leaving Python the long way costs 20 to 40 ms after requests, and shows tracebacks.
        os._exit(0)


def _serve() -> None:
    channel = Channel(Stream(0, 1, time.monotonic() + _LONGEST_DIALOGUE, LONGEST_CALL))
    # What costs time comes after the channel is there, so that a hang-up loses little.
    from dialplan_sms.agi.call import call
    from dialplan_sms.config import config
    from dialplan_sms.config.config import Config, Sender
    from dialplan_sms.sms.service import Route, Service, Store

    def load() -> Config:
        loaded = config.load(config.find())
        loaded.drop_privileges()
        longest = max(sender.call_timeout for sender in loaded.senders.values())
        signal.alarm(int(longest) + 10)
        return loaded

    def route(sender: Sender) -> Route:
        # requests works without guessing charsets, and starts in 20 ms less.
        sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type]
        sys.modules.setdefault("chardet", None)  # type: ignore[arg-type]
        from dialplan_sms.routes.pbx import SmsApi  # 130 ms that a refused SMS need not pay

        return SmsApi(sender)

    def store(config: Config) -> Store:
        from dialplan_sms.outbox.store import open_outbox  # 0.4 s that only what needs it pays

        outbox = open_outbox(config)
        ended.callback(outbox.close)  # which notes what is still to be noted
        return outbox

    with contextlib.ExitStack() as ended:
        arguments = [os.fsencode(argument).decode("utf-8", "replace") for argument in sys.argv[1:]]
        call(channel, Service(load, route, store=store), arguments)
