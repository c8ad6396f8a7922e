"""Asterisk on this host: its folders, its process, its console."""

import contextlib
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dialplan_sms.host.process import PATH, Run
from dialplan_sms.host.trust import usual
from dialplan_sms.host.user import User, by_id

_PATIENCE = 4.0
"""Seconds for one command of the console."""
_AGI_BINS = ("/var/lib/asterisk/agi-bin", "/usr/share/asterisk/agi-bin")
_SETTING = re.compile(r"AGI Scripts directory:\s*(\S.*)")


@dataclass(frozen=True, slots=True)
class Process:
    """A running Asterisk: *command* is what its program was called with, options left out."""

    user: User
    command: tuple[str, ...]
    conf: Path | None


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

    @property
    def conf(self) -> Path:
        return self.etc / "asterisk.conf"

    @cached_property
    def process(self) -> Process | None:
        """The running one that uses our asterisk.conf, of a user who may be believed."""
        ours = os.path.realpath(self.conf)
        for found in _processes(self._proc):
            conf = found.conf or Path("/etc/asterisk/asterisk.conf")
            if os.path.realpath(conf) == ours and found.user.uid in self._believed:
                return found
        return None

    @cached_property
    def _believed(self) -> frozenset[int]:
        """Who decides on this host, and who runs Asterisk as its files say."""
        believed = set(usual())
        for path in (self.conf, self.etc):
            with contextlib.suppress(OSError):
                believed.add(path.stat().st_uid)
        with contextlib.suppress(KeyError):
            believed.add(pwd.getpwnam(_options(self.conf).get("runuser", "")).pw_uid)
        return frozenset(believed)

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
        """Where AGI() looks for scripts; None where that cannot be known."""
        told = _SETTING.search(self.settings)
        if told:
            return Path(told[1].strip())
        configured = read_directories(self.conf).get("astagidir")
        if configured:
            return Path(configured)
        return next((Path(each) for each in self._agi_bins if Path(each).is_dir()), None)


def read_directories(conf: Path) -> dict[str, str]:
    """``[directories]`` of asterisk.conf; empty where it is a template, as Debian's is: ``(!)``."""
    return _section(conf, "[directories]")


def _options(conf: Path) -> dict[str, str]:
    return _section(conf, "[options]")


def _section(conf: Path, wanted: str) -> dict[str, str]:
    found: dict[str, str] = {}
    section = ""
    try:
        text = conf.read_text(errors="replace")
    except OSError:
        return found
    for raw in text.splitlines():
        line = raw.partition(";")[0].strip()
        if line.startswith("["):
            section = line.lower()
        elif section == wanted and "=" in line:
            key, _, value = line.partition("=")
            found[key.strip().lower()] = value.lstrip("> \t")
    return found


def _processes(proc: Path) -> Iterator[Process]:
    for entry in sorted(proc.glob("[0-9]*")):
        with contextlib.suppress(OSError, ValueError):
            arguments = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            at = next((n for n, each in enumerate(arguments) if _is_asterisk(each)), None)
            # Otherwise only through a loader: "ls /etc/asterisk" is none.
            if at is None or (at and not arguments[0].rpartition("/")[2].startswith("ld-")):
                continue
            if _is_console(arguments[at + 1 :]):
                continue
            options = arguments[at + 1 :]
            conf = options[options.index("-C") + 1] if "-C" in options else None
            yield Process(
                _owner(entry / "status"),
                tuple(arguments[: at + 1]),
                Path(os.path.join(_cwd(entry), conf)) if conf else None,
            )


def _is_asterisk(argument: str) -> bool:
    return argument.rpartition("/")[2] == "asterisk"


def _is_console(options: list[str]) -> bool:
    return any(re.fullmatch(r"-[A-Za-z]*[rRx][A-Za-z]*", each) for each in options)


def _cwd(entry: Path) -> str:
    try:
        return os.readlink(entry / "cwd")
    except OSError:
        return "/"


def _owner(status: Path) -> User:
    text = status.read_text()
    # The real ones: anybody can start a set-user-id program under the name asterisk.
    ids = {key: re.findall(r"[0-9]+", line) for key, _, line in _pairs(text)}
    groups = [int(ids["Gid"][0]), *map(int, ids.get("Groups", []))]
    return by_id(int(ids["Uid"][0]), tuple(dict.fromkeys(groups)))


def _pairs(text: str) -> Iterator[tuple[str, str, str]]:
    return (
        line.partition(":")
        for line in text.splitlines()
        if line.startswith(("Uid", "Gid", "Groups"))
    )
