"""The host as setup sees it: places, commands, and who asks. Tests give one of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PASSWORD = "DIALPLAN_SMS_PASSWORD"  # noqa: S105 - a name
TOKEN = "DIALPLAN_SMS_TOKEN"  # noqa: S105
SECRETS = (PASSWORD, TOKEN)
"""Variables that no other program is told of."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are that no configuration names."""

    state: Path = Path("/var/lib/dialplan-sms")
    units: Path = Path("/etc/systemd/system")
    prefix: Path = Path("/opt/dialplan-sms")
    package: Path = Path("/usr/lib/dialplan-sms")
    """Where the Debian package has the program."""
    systemd: Path = Path("/run/systemd/system")
    commands: Path = Path("/usr/local/bin")
    freepbx: Path = Path("/etc/freepbx.conf")
    proc: Path = Path("/proc")
    asterisk_confs: tuple[Path, ...] = tuple(
        Path(folder) / "asterisk.conf"
        for folder in (
            "/etc/asterisk",
            "/usr/local/etc/asterisk",
            "/opt/asterisk/etc/asterisk",
            "/usr/local/asterisk/etc/asterisk",
            "/etc/opt/asterisk",
        )
    )
    agi_bins: tuple[Path, ...] = (
        Path("/var/lib/asterisk/agi-bin"),
        Path("/usr/share/asterisk/agi-bin"),
        Path("/usr/local/share/asterisk/agi-bin"),
    )
    spool: Path = Path("/var/spool/asterisk")
    log: Path = Path("/var/log/asterisk")
    path: str = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/asterisk/sbin"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended; ``output`` is what it wrote to stdout and stderr."""

    status: int
    output: str

    @property
    def last_line(self) -> str:
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.status}"


def run(command: Sequence[str], timeout: float) -> Done:
    """Run *command*; status 127 where it cannot be started, 124 after *timeout* seconds."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    try:
        done = subprocess.run(  # noqa: S603 - the commands are ours
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout, check=False, cwd="/", env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Done(124, f"no end after {timeout:.0f} s")
    except (OSError, ValueError) as error:
        return Done(127, getattr(error, "strerror", None) or str(error))
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Host:
    """One host. ``here`` is the folder of the Python that runs."""

    places: Places = field(default_factory=Places)
    run: Callable[[Sequence[str], float], Done] = run
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    interactive: bool = field(
        default_factory=lambda: bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())
    )
    here: Path = field(default_factory=lambda: Path(sys.prefix))

    def run_as(self, uid: int, gid: int, command: Sequence[str], timeout: float) -> Done:
        """Run *command* as that user, with no other groups; as ourselves where we are not root."""
        if os.geteuid() == 0:
            ids = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
            command = ["setpriv", *ids, *command]
        return self.run(command, timeout)
