"""What setup ends with: how to try it, from the shell and from the dialplan."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from dialplan_sms.cli.check.dialplan import CONTEXT, Files
from dialplan_sms.cli.check.service import fastagi
from dialplan_sms.cli.setup.host import AsteriskHost
from dialplan_sms.config import config as smsconf

TRIAL = """\
[sms-test]
exten => 701,1,Answer()
 same => n,Set(TEXT=Hello from the dialplan, it works :) 100%)
 same => n,Gosub(sub-sms,s,1(+39333123456,TEXT))
 same => n,NoOp(${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON})
 same => n,Hangup()
"""
"""The lines that send a first SMS from the dialplan, as the front page has them."""
_ORIGINATE = "channel originate Local/701@sms-test application Wait 5"
_USUAL = Path("/etc/asterisk")


def last_words(found: AsteriskHost, prefix: Path, failed: bool) -> Iterator[str]:
    """Where the commands find sms.conf; how to send a first SMS, unless something has *failed*."""
    command, console = "dialplan-sms send", "asterisk -rx"
    if found.etc != _USUAL:
        words = [f"{prefix}/bin/dialplan-sms", "send", "--config", f"{found.etc}/sms.conf"]
        command = shlex.join(words)
        console = shlex.join(found.console) or console
        yield (
            f"Every command looks in {_USUAL}: run export"
            f" AST_CONFIG_DIR={shlex.quote(str(found.etc))} first (and put it into /root/.profile)"
        )
    if failed:
        return
    yield from _faster(found)
    doc = prefix / "share/doc/dialplan-sms"
    yield (
        f"Limits keep the bill small, if callers choose the numbers: {doc}/docs/limits.md\n\n"
        "Send a first SMS, to a number of your own:\n"
        f'  echo "Hello from the PBX" | {command} +39333123456\n\n'
        f"From the dialplan: add this at the end of {found.dialplan}"
        f" (more examples: {doc}/docs/cookbook.md)\n\n{TRIAL}\n"
        "and try it:\n"
        f"  {console} 'dialplan reload'\n"
        f"  {console} '{_ORIGINATE}'"
    )


def _faster(found: AsteriskHost) -> Iterator[str]:
    """What FastAGI saves, if the dialplan sends by the script and the service would answer."""
    plan = Files(found.etc).plan
    by_url = any("agi://" in value for value in plan.variables["SMS_AGI"])
    script = re.compile(r"\bsms\.agi\b" if by_url else rf"\bsms\.agi\b|\b{CONTEXT}\b")
    if not any(script.search(step.plain) for step in plan.steps if step.context != CONTEXT):
        return
    for host, port in smsconf.load(found.etc / "sms.conf").listen:
        if host == "127.0.0.1" and fastagi(host, port) is None:
            url = f"agi://{host}{f':{port}' if port != 4573 else ''}/sms"
            yield (
                f"{url} takes about a tenth of the CPU time of sms.agi: put SMS_AGI = {url} into"
                f" [globals] for {CONTEXT}, and write AGI({url},...) in place of AGI(sms.agi,...)"
            )
