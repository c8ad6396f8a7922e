"""Kannel as Debian starts it: a bearerbox and a smsbox, between sendsms and an SMSC over HTTP."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.children import Child, free_ports
from tests.tools import Tools

USER, PASSWORD = "101", "sms101api"
_CONF = """\
group = core
admin-port = {admin}
smsbox-port = {smsbox}
admin-password = bench
box-allow-ip = 127.0.0.1
store-type = spool
store-location = {folder}
log-file = {folder}/bearerbox.log

group = smsc
smsc = http
smsc-id = pbx
system-type = generic
send-url = "{send_url}"
status-success-regex = Success
port = {receive}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = {sendsms}
global-sender = 101
log-file = {folder}/smsbox.log

group = sendsms-user
username = 101
password = sms101api
max-messages = 20
concatenation = true

group = sms-service
keyword = default
text = none
"""


def start(
    stack: ExitStack, folder: Path, tools: Tools, send_url: str, through: Sequence[str] = ()
) -> tuple[int, list[int]]:
    """The port of its sendsms, and its processes; it gives each SMS to *send_url*.

    *through* is a program that becomes it. It ends with *stack*.
    """
    admin, smsbox, receive, sendsms = free_ports(4)
    conf = folder / "kannel.conf"
    conf.write_text(_CONF.format(
        admin=admin, smsbox=smsbox, receive=receive, sendsms=sendsms, folder=folder,
        send_url=send_url,
    ))  # fmt: skip
    pids = []
    for name, port in (("bearerbox", smsbox), ("smsbox", sendsms)):  # with Debian's options
        command = [*through, *tools.command(f"usr/sbin/{name}"), "-v", "4", str(conf)]
        pids.append(stack.enter_context(Child(command, port, folder / name, {})).pid)
    return sendsms, pids
