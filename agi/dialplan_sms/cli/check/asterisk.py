"""Asterisk on this host: its folders, its process, its console."""

import os
import re
import shutil
from functools import cached_property
from pathlib import Path

from dialplan_sms.host.asterisk import Process, running, using
from dialplan_sms.host.asterisk_conf import read, settings
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.process import PATH, Run

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
        self.etc, self.conf = etc, etc / "asterisk.conf"
        self._run = run
        self._proc = proc
        self._path = path
        self._agi_bins = agi_bins
        try:  # now, before there are threads, since it is read in a child
            self._configured = settings(read(self.conf))
        except HostError:
            self._configured = {}

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
        """The program; None if this host has none."""
        if self.process is not None:
            return self.process.command
        found = shutil.which("asterisk", path=self._path)
        return (found,) if found else None

    @property
    def is_here(self) -> bool:
        """Whether this host has an Asterisk at all, running or not."""
        return self.command is not None or self.conf.exists()

    def ask(self, command: str) -> str:
        """What the console answers to *command*; empty if it does not."""
        if self.command is None:
            return ""
        options = ("-C", str(self.conf)) if self.conf.exists() else ()
        # With the rights of whose program it is: anybody can start one under this name.
        user = self.process.user if self.process else None
        ran = self._run([*self.command, *options, "-rx", command], _PATIENCE, user)
        return "" if ran.status else ran.output.strip()

    @cached_property
    def settings(self) -> str:
        """``core show settings``; empty if Asterisk does not answer."""
        return self.ask("core show settings")

    @cached_property
    def modules(self) -> frozenset[str]:
        """The modules that run; none if Asterisk does not answer."""
        # One that Asterisk holds but could not start is "Not Running".
        rows = (row for row in self.ask("module show").splitlines() if "Not Running" not in row)
        return frozenset(row.split()[0] for row in rows if ".so" in row[:60])

    @cached_property
    def agi_bin(self) -> Path | None:
        """Where AGI() looks for scripts; None if that cannot be known."""
        told = _SETTING.search(self.settings)
        configured = self._configured.get("directories", {}).get("astagidir")
        usual = next((each for each in self._agi_bins if Path(each).is_dir()), None)
        found = told[1].strip() if told else configured or usual
        return Path(found) if found else None
