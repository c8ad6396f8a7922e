"""Asterisk on this host: its folders, its process, its console."""

import os
import re
import shutil
from functools import cached_property
from pathlib import Path

from dialplan_sms.host.asterisk import Process, running, using
from dialplan_sms.host.asterisk_conf import read, settings
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.process import PATH, Ran, Run

_PATIENCE = 4.0
"""Seconds for one command of the console."""
_AGI_BINS = ("/var/lib/asterisk/agi-bin", "/usr/share/asterisk/agi-bin")
_SETTING = re.compile(r"AGI Scripts directory:\s*(\S.*)")


class Asterisk:
    """The Asterisk whose configuration is in *etc*; each answer is fetched once."""

    def __init__(
        self,
        etc: Path,
        run: Run,
        proc: Path = Path("/proc"),
        path: str = PATH,
        agi_bins: tuple[str, ...] = _AGI_BINS,
    ) -> None:
        self.etc = etc
        self._run = run
        self._proc = proc
        self._path = path
        self._agi_bins = agi_bins
        try:  # now, before there are threads, since it is read in a child
            self._configured = settings(read(self.conf))
        except HostError:
            self._configured = {}

    @property
    def conf(self) -> Path:
        return self.etc / "asterisk.conf"

    @cached_property
    def process(self) -> Process | None:
        """The running one that uses our asterisk.conf, of a user who may be believed."""
        runuser = self._configured.get("options", {}).get("runuser", "")
        processes = running(self._proc, guess=os.geteuid() != 0)
        try:
            return next(iter(using(processes, self.conf, runuser)), None)
        except HostError:
            return None

    @cached_property
    def command(self) -> tuple[str, ...] | None:
        """The program; None where this host has none."""
        if self.process is not None:
            return self.process.command
        found = shutil.which("asterisk", path=self._path)
        return (found,) if found else None

    @property
    def is_here(self) -> bool:
        """Whether this host has an Asterisk at all, running or not."""
        return self.command is not None or self.conf.exists()

    def ask(self, command: str) -> Ran:
        """What the console answers to *command*."""
        if self.command is None:
            return Ran(None, error="there is no program asterisk")
        options = ("-C", str(self.conf)) if self.conf.exists() else ()
        # With the rights of whose program it is: anybody can start one under this name.
        user = self.process.user if self.process else None
        return self._run([*self.command, *options, "-rx", command], _PATIENCE, user)

    @cached_property
    def settings(self) -> str | None:
        """``core show settings`` where Asterisk answers, else None."""
        answer = self.ask("core show settings")
        return answer.out if answer.status == 0 and answer.out.strip() else None

    @cached_property
    def modules(self) -> frozenset[str] | None:
        """The modules that run."""
        answer = self.ask("module show")
        if answer.status != 0:
            return None
        # One that Asterisk holds but could not start is "Not Running".
        rows = (line for line in answer.out.splitlines() if "Not Running" not in line)
        return frozenset(row.split()[0] for row in rows if ".so" in row[:60])

    @cached_property
    def agi_bin(self) -> Path | None:
        """Where AGI() looks for scripts; None where that cannot be known."""
        told = _SETTING.search(self.settings or "") if self.command else None
        if told:
            return Path(told[1].strip())
        configured = self._configured.get("directories", {}).get("astagidir")
        if configured:
            return Path(configured)
        return next((Path(each) for each in self._agi_bins if Path(each).is_dir()), None)
