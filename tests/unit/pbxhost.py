"""A host below one folder, on which setup can do all that it does to a real one, as any user."""

import grp
import hashlib
import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner, Result

from dialplan_sms.cli.main import main
from dialplan_sms.cli.setup import dialplan
from dialplan_sms.cli.setup.host import Host, Places
from dialplan_sms.config import config
from dialplan_sms.config.config import Sender
from dialplan_sms.host.identity import User
from dialplan_sms.host.installation import EXTENSIONS as CONF
from dialplan_sms.host.installation import write_script
from dialplan_sms.host.process import Ran

PASSWORD = "sms101api"
NEW = ("--url", "http://192.0.2.1", "--sender", "101")
"""The answers of a first setup, but for the password."""
SECOND = ("--url", "http://192.0.2.1", "--sender", "102")
"""Those for another sender of that PBX."""
USER = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name
SCRIPT = Path(__file__).parents[2] / "agi/sms.agi"
EXTENSIONS = b"; ours\n\n[general]\nstatic=yes\n\n[sms-test]\nexten => 1,1,NoOp()\n"


class PbxHost:
    """Folders of Asterisk and systemd below *root*, a fake Asterisk and a fake systemctl.

    What the fakes know is in files, so that a run of setup can be killed.
    """

    answer = ""
    """What the program says when it is run."""

    def __init__(self, root: Path, prefix: Path | None = None) -> None:
        shutil.rmtree(root, ignore_errors=True)
        self.root = root
        self.etc = root / "etc/asterisk"
        self.agi_bin = root / "agi-bin"
        self.spool = root / "spool"
        self.prefix = prefix or root / "opt/dialplan-sms"
        self.fakes = root / "fakes"
        self.script = self.agi_bin / "sms.agi"
        self.extensions = self.etc / "extensions.conf"
        self.sms_conf = self.etc / "sms.conf"
        self.units = root / "units"
        self.drop_in = self.units / "dialplan-sms.service.d/setup.conf"
        self.interactive = False
        self.environ = {"DIALPLAN_SMS_PASSWORD": PASSWORD}
        self.told_etc = self.etc
        self.consoles: list[str] = []
        others = (self.fakes, self.units, root / "bin", root / "run")
        for folder in (self.etc, self.agi_bin, self.spool, *others):
            folder.mkdir(parents=True)
        self.put_program(self.prefix)
        self.conf = self.etc / "asterisk.conf"
        self.write_conf()
        self.extensions.write_bytes(EXTENSIONS)
        (root / "bin/asterisk").touch(mode=0o755)
        self.run_asterisk()

    @staticmethod
    def put_program(prefix: Path) -> Path:
        """What setup looks at of a program in *prefix*; no pip is needed."""
        (prefix / "bin").mkdir(parents=True)
        (prefix / "bin/python3").symlink_to("/usr/bin/python3")
        (prefix / "bin/dialplan-sms").write_text("from dialplan_sms.cli.main import main\n")
        write_script(SCRIPT, prefix / "bin/sms.agi", prefix / "bin/python3")
        return prefix

    @property
    def places(self) -> Places:
        root = self.root
        return Places(
            state=root / "state", units=self.units, prefix=root / "opt/dialplan-sms", systemd=root / "run",
            package=root / "package", commands=root / "bin", freepbx=root / "freepbx.conf",
            proc=root / "proc", asterisk_confs=(self.conf,), agi_bins=(), path=str(root / "bin"),
        )  # fmt: skip

    def write_conf(self, mark: str = "", options: str = f"runuser = {USER}") -> None:
        self.conf.write_text(
            f"[directories]{mark}\nastetcdir => {self.etc}\nastagidir => {self.agi_bin} ; scripts\n"
            f"astspooldir => {self.spool}\n[options]\n{options}\n"
        )

    def run_asterisk(self, *command: str, user: tuple[int, int] | None = None,
                     program: str | Path = "/usr/sbin/asterisk") -> None:  # fmt: skip
        process = self.root / "proc/4711"
        process.mkdir(parents=True, exist_ok=True)
        command = command or ("/usr/sbin/asterisk", "-f", "-C", str(self.conf))
        (process / "cmdline").write_bytes("\0".join(command).encode() + b"\0")
        uid, gid = user or (os.getuid(), os.getgid())
        (process / "status").write_text(f"Name:\tasterisk\nUid:\t{uid}\t0\nGid:\t{gid}\t0\n")
        for name, target in (("exe", program), ("root", "/")):
            (process / name).unlink(missing_ok=True)
            (process / name).symlink_to(target)

    def stop_asterisk(self) -> None:
        (self.root / "proc/4711/cmdline").unlink()

    def host(self, is_root: bool = True) -> Host:
        return Host(self.places, self.run, self.environ, is_root, self.interactive, self.prefix)

    def run(self, command: Sequence[str], timeout: float, user: User | None = None) -> Ran:
        """What the host's programs do."""
        with (self.fakes / "log").open("a") as log:
            log.write(" ".join(command).replace(str(self.root), "") + "\n")
        if command[0] == "systemctl":
            return self._systemctl(command[1], command[-1])
        if command[0].endswith("/asterisk"):
            assert command[1:4] == ["-C", str(self.conf), "-rx"]
            self.consoles.append(command[0])
            if (self.fakes / "mute").exists():
                return Ran(1, "Unable to connect to remote asterisk\n")
            return Ran(0, self._console(command[4]))
        if "-m" in command and (self.fakes / "unreadable").exists():
            return Ran(0, '["asterisk cannot use sms.conf: run chgrp asterisk", false]\n')
        if "-c" in command and (self.fakes / "closed").exists():
            return Ran(1, "no module named dialplan_sms\n")
        return Ran(0, self.answer)

    def _systemctl(self, verb: str, unit: str) -> Ran:
        enabled, active = self.fakes / "enabled", self.fakes / "active"
        if (self.fakes / "broken").exists() and verb == "restart":
            return Ran(1, "Job for dialplan-sms.service failed.\n")
        if verb == "is-active":
            return Ran(0 if active.exists() else 3)
        if verb == "is-enabled":
            return Ran(0 if enabled.exists() else 1)
        if verb in ("enable", "restart"):
            assert any((place / unit).is_file() for place in (self.units, self.root / "package"))
            (enabled if verb == "enable" else active).touch()
        if verb == "disable":
            enabled.unlink(missing_ok=True)
            active.unlink(missing_ok=True)
        return Ran(0)

    def _console(self, line: str) -> str:
        loaded = self.fakes / "loaded"
        if line == "core show settings":
            return (
                f"  Configuration directory:     {self.told_etc}\n"
                f"  Spool directory:             {self.spool}\n"
                f"  AGI Scripts directory:       {self.agi_bin}\n\n"
            )
        if line == "dialplan reload":
            found = [*dialplan.find_includes(self.etc)]
            loaded.unlink(missing_ok=True)
            if found and (self.etc / CONF).exists():
                loaded.touch()
            return "Dialplan reloaded."
        assert line == "dialplan show sub-sms"
        return (
            "[ Context 'sub-sms' created by 'pbx_config' ]" if loaded.exists() else "no existence"
        )

    @property
    def commands(self) -> list[str]:
        """What was run, without the root's path."""
        log = self.fakes / "log"
        return log.read_text().splitlines() if log.exists() else []

    def setup(
        self, *arguments: str, is_root: bool = True, said: str | None = None, yes: bool = True
    ) -> Result:
        given = ["setup", *arguments, *(["--yes"] if yes else [])]
        result = CliRunner().invoke(main, given, obj=self.host(is_root), input=said)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert "Traceback" not in result.output
        assert PASSWORD not in result.output
        return result

    def install(self, *more: str) -> str:
        """What a first setup that has all its answers says."""
        result = self.setup(*NEW, *more)
        assert result.exit_code == 0, result.output
        return result.output

    def fails(self, *arguments: str) -> str:
        """What a setup says that leaves something undone."""
        result = self.setup(*arguments)
        assert result.exit_code == 1, result.output
        return result.output

    def refused(self, *arguments: str, status: int = 1) -> str:
        """The one line with which setup changes nothing."""
        before = self.tree()
        result = self.setup(*arguments)
        assert (result.exit_code, result.output.count("\n")) == (status, 1), result.output
        assert self.tree() == before
        return result.output

    def settled(self, *arguments: str) -> None:
        """There is nothing left to do."""
        before = self.tree()
        assert "all is there: nothing to change" in self.setup(*arguments).output
        assert self.tree() == before

    def sender(self, name: str = "101", file: str = "sms.conf") -> Sender:
        """What sms.conf, or *file* beside it, has of that sender."""
        return config.load(self.etc / file).senders[name]

    def tree(self, *left_out: str) -> dict[str, tuple[str, str]]:
        """Everything that is there: type with mode, and content; but for the fakes' own."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name, content = path.relative_to(self.root).as_posix(), ""
            if name.split("/")[0] in ("fakes", "proc", *left_out):
                continue
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (oct(path.lstat().st_mode), content)
        return found
