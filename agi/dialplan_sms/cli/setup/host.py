"""The host as setup sees it: places, commands, and who asks. Tests give one of their own."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.host.process import Ran, run

PASSWORD = "DIALPLAN_SMS_PASSWORD"  # noqa: S105 - a name
TOKEN = "DIALPLAN_SMS_TOKEN"  # noqa: S105


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
class Host:
    """One host. ``here`` is the folder of the Python that runs."""

    places: Places = field(default_factory=Places)
    run: Callable[[Sequence[str], float], Ran] = run
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    interactive: bool = field(
        default_factory=lambda: bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())
    )
    here: Path = field(default_factory=lambda: Path(sys.prefix))

    def run_as(self, uid: int, gid: int, command: Sequence[str], timeout: float) -> Ran:
        """Run *command* as that user, with no other groups; as ourselves where we are not root."""
        if os.geteuid() == 0:
            ids = [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
            command = ["setpriv", *ids, *command]
        return self.run(command, timeout)
