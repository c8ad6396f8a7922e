"""The door of sms.agi: one call on stdin and stdout, in this process."""

import os
import signal
import sys
from typing import NoReturn

from dialplan_sms.channel import Channel

LONGEST_DIALOGUE = 40
"""Seconds after which the script ends itself, should Asterisk never answer it."""


def main() -> NoReturn:
    """Serve the call and leave; never raises, never returns."""
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(LONGEST_DIALOGUE)
    try:
        _serve()
    except BaseException as failure:  # noqa: BLE001 - nobody else is there to catch it
        _log(f"sms.agi broke: {type(failure).__name__}")
    # Leaving Python the long way costs 20 to 40 ms after requests.
    os._exit(0)


def _serve() -> None:
    from asterisk.agi import AGIException

    try:
        channel = Channel(sys.stdin.buffer, sys.stdout.buffer)
    except AGIException:
        return
    # What costs time comes after the channel is there, so that a hang-up loses little.
    from dialplan_sms import config
    from dialplan_sms.call import call
    from dialplan_sms.config import Config, Sender
    from dialplan_sms.service import Route, Service

    def load() -> Config:
        loaded = config.load(config.find())
        longest = max(sender.call_timeout for sender in loaded.senders.values())
        signal.alarm(int(longest) + 10)
        return loaded

    def route(sender: Sender) -> Route:
        # requests works without guessing charsets, and starts in 20 ms less.
        sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type]
        sys.modules.setdefault("chardet", None)  # type: ignore[arg-type]
        from dialplan_sms.smsapi import SmsApi  # 130 ms that a refused SMS need not pay

        return SmsApi(sender)

    arguments = [os.fsencode(argument).decode("utf-8", "replace") for argument in sys.argv[1:]]
    call(channel, Service(load, route), arguments)


def _give_up(*_: object) -> NoReturn:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(2)  # should even the log hang
    _log("sms.agi gave up: Asterisk did not answer")
    os._exit(1)


def _log(line: str) -> None:
    from dialplan_sms import log

    log.write("syslog", line, failed=True)
