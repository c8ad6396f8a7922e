"""What FastAGI costs at least: a server in C with our dialogue of mode wait, which sends nothing."""

import subprocess
from pathlib import Path

from dialplan_sms.agi.call import call
from tests.bench.ways import MESSAGE, NUMBER
from tests.children import Child
from tests.unit.fakes import FakeAsterisk, FakeRoute, service

_SOURCE = Path(__file__).with_suffix(".c")


class CompilerUnavailable(Exception):
    """There is no C compiler; the message is one line that says what to do."""


def server(folder: Path, port: int) -> Child:
    """The server, built in *folder*, to be entered. CompilerUnavailable."""
    program = folder / "floor"
    try:
        subprocess.run(
            ["cc", "-O2", "-pthread", "-o", program, _SOURCE], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        raise CompilerUnavailable(
            f"cc does not compile {_SOURCE.name}: run apt install gcc libc6-dev"
        ) from None
    return Child((program, str(port), *_commands()), port, folder / "floor.told", {})


def _commands() -> list[str]:
    """What a call of ours says to an Asterisk that is known to set variables together."""
    asterisk = FakeAsterisk({"SMS_NUMBER": NUMBER, "SMS_MESSAGE": MESSAGE})
    channel = asterisk.channel
    channel.sets_together = True
    call(channel, service(FakeRoute()))
    return [f"{command.decode()}\n" for command in asterisk.commands]
