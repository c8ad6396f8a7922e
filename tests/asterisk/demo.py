"""``make demo``: a caller presses 1 and gets directions by SMS, on this machine alone.

A real Asterisk 22 runs dialplan/ivr-directions.conf, sms.agi sends, and the stand-in PBX receives.
Where no Asterisk can be had, the same script answers a recorded AGI session.
"""

import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dialplan_sms.sandbox import Message, Sandbox
from tests.asterisk.fetch import fetch
from tests.asterisk.installation import AsteriskUnavailable, Installation
from tests.asterisk.pbx import Pbx
from tests.asterisk.site import PASSWORD, Site, agi_bin
from tests.unit.process import Asterisk

TOP = Path(__file__).parents[2]
CALLER = "+39333123456"
OUT = ("SMS_STATUS", "SMS_CAUSE", "SMS_REASON", "SMS_FAILED", "SMS_ID")
NEXT = """\
Three things to try next:
1. a PBX to play with    {bin}/dialplan-sms sandbox
   It shows each SMS, and a section to save as sms.conf (chmod 600 sms.conf).
2. send to it            echo Hi | {bin}/dialplan-sms send --config sms.conf {number}
   Then break it on purpose: the number +99900000001 is never answered.
3. put it on your PBX    docs/install.md"""

console = Console(highlight=False)


def main() -> None:
    """Run the demo and show what everybody saw."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="demo-") as folder, Sandbox() as sandbox:
        console.print(f"[bold]stand-in PBX[/] listens on {sandbox.url}")
        try:
            installation = fetch(22, lambda line: console.print(f"[dim]Asterisk 22: {line}[/]"))
        except AsteriskUnavailable as error:
            console.print(f"[yellow]no Asterisk to be had:[/] {Text(str(error)).plain}")
            console.print("sms.agi answers a recorded AGI session in its place")
            seen = recorded(Path(folder), sandbox)
        else:
            seen = called(installation, Path(folder), sandbox)
        show(seen, sandbox.messages)
    bin_ = Path(sys.prefix) / "bin"
    if bin_.is_relative_to(Path.cwd()):
        bin_ = bin_.relative_to(Path.cwd())
    console.print(f"\n{NEXT.format(bin=bin_, number=CALLER)}", soft_wrap=True)
    console.print(f"[dim]{time.monotonic() - began:.0f} s[/]")
    if seen["SMS_STATUS"] != "SUCCESS":
        raise SystemExit("the demo did not send its SMS: see above")


def called(installation: Installation, folder: Path, sandbox: Sandbox) -> dict[str, str]:
    """What the caller's channel saw of a call to the IVR."""
    ivr = (TOP / "dialplan/ivr-directions.conf").read_text()
    dialplan = f"[test]\nexten => 1,1,Goto(sms-ivr-directions,s,1)\n{ivr}"
    sub_sms = TOP / "dialplan/extensions-sms.conf"
    with Pbx(installation, dialplan, includes=[sub_sms], agi_bin=agi_bin(folder)) as pbx:
        console.print(f"[bold]Asterisk {installation.version}[/] runs dialplan/ivr-directions.conf")
        Site(pbx, sandbox).configure()
        call = pbx.start_call("1", caller_id=f"Caller <{CALLER}>")
        call.wait_for("Newexten", Application="WaitExten")
        console.print(f"[bold]{CALLER}[/] has called and presses 1 ...")
        pbx.ami.action("PlayDTMF", Channel=call.peer, Digit="1")
        return call.wait().variables


def recorded(folder: Path, sandbox: Sandbox) -> dict[str, str]:
    """What a recorded session saw: the dialogue of Asterisk 22.10.1, without Asterisk."""
    conf = folder / "sms.conf"
    conf.touch(0o600)
    conf.write_text(
        f"[general]\nlog = sms.log\n[101]\nurl = {sandbox.url}\npassword = {PASSWORD}\n"
        f"verify = {sandbox.fingerprint}\n"
    )
    session = Asterisk(agi_bin(folder) / "sms.agi", folder, CALLER, "Directions: motorway exit 7")
    try:
        return session.serve().variables
    finally:
        session.close()


def show(seen: dict[str, str], messages: list[Message]) -> None:
    """Both ends of the SMS, side by side with nothing left out."""
    channel = Table(show_header=False, box=None)
    for name in OUT:
        channel.add_row(name, Text(seen.get(name, "") or "(empty)"))
    console.print(Panel(channel, title="what the caller's channel saw", title_align="left"))
    for message in messages:
        received = Table(show_header=False, box=None)
        received.add_row("number", Text(", ".join(message.numbers)))
        received.add_row("message", Text(message.text))
        received.add_row("gateway", Text(message.gsm))
        received.add_row("sender", Text(message.user))
        console.print(Panel(received, title="what the PBX received", title_align="left"))


if __name__ == "__main__":
    main()
