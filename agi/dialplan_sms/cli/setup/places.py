"""The host as setup sees it: places, commands, and who asks. Tests give one of their own."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.host.identity import User
from dialplan_sms.host.installation import DEBIAN
from dialplan_sms.host.process import Ran, Run, run


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are that no configuration names."""

    state: Path = Path("/var/lib/dialplan-sms")
    units: Path = Path("/etc/systemd/system")
    prefix: Path = Path("/opt/dialplan-sms")
    """Where ``make install`` puts the program, and where setup of 0.1.0 copied it."""
    package: Path = DEBIAN
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
    """One host; ``prefix`` is the folder of the program that runs."""

    places: Places = field(default_factory=Places)
    run: Run = run
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    interactive: bool = field(
        default_factory=lambda: bool(sys.stdin and sys.stdin.isatty() and sys.stdout.isatty())
    )
    prefix: Path = field(default_factory=lambda: Path(sys.prefix))

    @property
    def packaged(self) -> bool:
        """Whether the Debian package has installed the program."""
        return self.prefix.resolve() == self.places.package.resolve()

    def ask_program(self, user: User, arguments: Sequence[str], timeout: float) -> Ran:
        """Run the program's own Python as *user*."""
        return self.run([str(self.prefix / "bin/python3"), "-I", *arguments], timeout, user)
