"""Fresh Debian systems in a folder, with namespaces of their own, which end with them; a stand-in.

A system is made once with debootstrap and kept as a tar file in the cache of tests.asterisk.fetch.
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import pytest

from tests.asterisk.debian import KEYRING, mirror
from tests.asterisk.fetch import cache_folder
from tests.unit.process import call
from tests.waiting import until

SYSTEMS = ("bookworm", "forky")
"""Debian 12 and the next one, which has an Asterisk; both with Python."""
BOOTING = tuple(f"{suite}+systemd" for suite in SYSTEMS)
"""The same, that can boot."""
BARE = "bookworm+bare"
"""Debian 12 as debootstrap makes it, without Python."""
_SYSTEMD = ("systemd", "systemd-sysv", "ca-certificates")
_MORE = {"forky": ("asterisk",), BOOTING[0]: _SYSTEMD, BOOTING[1]: ("asterisk", *_SYSTEMD)}
SCRIPT = "/usr/share/asterisk/agi-bin/sms.agi"
_RECIPE = 1  # raised when what is in a system changes
_CHANGES = (  # of dpkg's and the system's own
    "dev", "proc", "run", "sys", "tmp", "var/cache", "var/lib/dpkg", "var/log",
    "etc/group", "etc/gshadow", "etc/passwd", "etc/shadow", "etc/subgid", "etc/subuid",
)  # fmt: skip
_GROUP = "dialplan-sms-test"
_IN_GROUP = (
    "sh", "-ec",
    'at=$(mktemp -d); mount -t cgroup2 cgroup2 "$at"; group="$at/$0-$$"; mkdir "$group";'
    ' echo $$ >"$group/cgroup.procs"; umount "$at"; rmdir "$at"; exec "$@"',
    _GROUP,
)  # fmt: skip
_BOOT = """
cd "$0"
mount --bind . .
cd "$0"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for each in run dev; do mount -t tmpfs -o mode=755 tmpfs $each; done
mkdir dev/pts dev/shm run/lock
for each in null zero full random urandom tty; do touch dev/$each; mount --bind /dev/$each dev/$each; done
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ip link set lo up
echo ready
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  chroot . /lib/systemd/systemd --log-target=null --show-status=0 >/dev/null 2>&1
"""
UNIT = "dialplan-sms.service"
PASSWORD = "sms101api"
TOP = Path(__file__).parents[2]
Output = subprocess.CompletedProcess[str]


class Root:
    """A system of its own in a temporary folder, until it is closed."""

    BEGIN = 'ip link set lo up; mount -t proc proc "$0/proc"; echo ready; read -r line'
    """What its first process does, a shell with the folder as ``$0``."""
    BEFORE: tuple[str, ...] = ()
    """A command that gets that of its namespaces as arguments."""
    NETWORK: tuple[str, ...] = ("--net",)
    """Its own, that has loopback alone; empty for the host's."""

    def __init__(self, suite: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"root-{suite}-"))
        self.path.chmod(0o755)
        self.made = time.monotonic()
        subprocess.run(["tar", "-xf", _system(suite), "-C", self.path], check=True)
        self._init = subprocess.Popen(
            [*self.BEFORE, "unshare", *self.NETWORK, "--mount", "--pid", "--cgroup", "--uts", "--ipc",
             "--fork", "--kill-child", "sh", "-ec", self.BEGIN, self.path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == "ready\n"
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        self._outside = ["nsenter", "--target", children.read_text().strip(), *self.NETWORK]
        self._enter = [*self._outside, "--mount", "--pid", "chroot", str(self.path)]

    def close(self) -> None:
        """End what runs in it, and remove it."""
        self._init.kill()
        self._init.communicate()
        shutil.rmtree(self.path)

    def command(self, *command: str, user: str = "root") -> list[str]:
        """The same command for outside."""
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return [*self._enter, *(as_user if user != "root" else ()), *command]

    def outside(self, *command: str | Path) -> list[str]:
        """The same for a command of this host, which sees this host's files and its network."""
        return [*self._outside, *map(str, command)]

    def try_run(
        self, *command: str, user: str = "root", stdin: str = "", seconds: float = 180, **more: str
    ) -> Output:
        """Run a command in it; *more* goes into the environment."""
        return subprocess.run(
            self.command(*command, user=user), input=stdin, env=ENVIRONMENT | more,
            capture_output=True, text=True, check=False, timeout=seconds,
        )  # fmt: skip

    def run(
        self, *command: str, user: str = "root", stdin: str = "", seconds: float = 180, **more: str
    ) -> str:
        """The same, for a command that must not fail: what it said."""
        done = self.try_run(*command, user=user, stdin=stdin, seconds=seconds, **more)
        assert done.returncode == 0, (done.stdout + done.stderr)[-10_000:]
        return done.stdout + done.stderr

    def call(self, text: str, **variables: str) -> dict[str, str]:
        """What a call of Asterisk's user by sms.agi leaves; what it says elsewhere is ``stderr``."""
        program, *words = self.command(SCRIPT, user="asterisk")
        variables = {"SMS_MESSAGE": text} | variables
        return call(Path(program), Path("/etc/asterisk"), *words, variables=variables)

    @contextmanager
    def start(self, *command: str, user: str = "root") -> Iterator[IO[str]]:
        """A command that goes on meanwhile: what it prints."""
        told = ("sh", "-c", 'echo $$; exec "$@"', "sh", *command)
        with subprocess.Popen(
            self.command(*told, user=user), env=ENVIRONMENT, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            pid = process.stdout.readline().strip()
            try:
                yield process.stdout
            finally:
                self.run("sh", "-c", f"kill {pid}")  # there is no program of that name
                process.wait(20)

    def install(self, deb: Path) -> str:
        """What dpkg said of it."""
        shutil.copy(deb, self.path / "root/package.deb")
        return self.run("dpkg", "--install", "/root/package.deb")

    def write(self, path: str, text: str, mode: int, group: str = "root") -> None:
        """Write a file as its root would."""
        target = self.path / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        self.run("chgrp", group, path)

    def tree(self) -> set[str]:
        """The path of every file but the system's own changes."""
        found = set()
        skipped = {self.path / name for name in _CHANGES}
        for folder, folders, files in os.walk(self.path):
            at = Path(folder)
            folders[:] = [name for name in folders if at / name not in skipped]
            for path in (at / name for name in [*folders, *files]):
                if path not in skipped and not path.name.endswith("-"):
                    found.add(str(path.relative_to(self.path)))
        return found


class Booted(Root):
    """A system whose systemd is up, until it is closed."""

    BEFORE = ("unshare", "--mount", *_IN_GROUP)
    BEGIN = _BOOT

    def __init__(self, system: str) -> None:
        super().__init__(system)
        try:
            until(lambda: self._state() in ("running", "degraded"), self._state, 60)
        except AssertionError:
            self.close()
            raise

    def wait(self, state: str) -> None:
        """Until the service's unit is *state*."""
        until(
            lambda: self.try_run("systemctl", "is-active", UNIT).stdout.strip() == state,
            lambda: self.try_run("systemctl", "status", "--no-pager", UNIT).stdout,
            60,
        )

    def main_pid(self) -> str:
        """The number of the service's process, in the system."""
        return self.run("systemctl", "show", "--property=MainPID", "--value", UNIT).strip()

    def _state(self) -> str:
        return self.try_run("systemctl", "is-system-running").stdout.strip()

    def close(self) -> None:
        """End it, and remove its control groups."""
        group = f"{_GROUP}-{self._init.pid}"
        super().close()
        script = (
            'at=$(mktemp -d); mount -t cgroup2 cgroup2 "$at";'
            ' find "$at/$0" -depth -type d -exec rmdir {} +; umount "$at"; rmdir "$at"'
        )
        subprocess.run(["unshare", "--mount", "sh", "-c", script, group], check=False)


class StandIn:
    """It listens on *port* of the system's loopback, and keeps a record of what it took."""

    def __init__(
        self, root: Root, folder: Path, port: int, users: tuple[str, ...], *options: str
    ) -> None:
        self._record = folder / f"{port}.jsonl"
        told = folder / f"{port}.log"
        words = [word for user in users for word in ("--user", f"{user}:{PASSWORD}")]
        command = root.outside(
            Path(sys.prefix) / "bin/dialplan-sms", "sandbox", "--listen", f"127.0.0.1:{port}",
            "--pace", "0", "--record", self._record, *words, *options,
        )  # fmt: skip
        with told.open("w") as log:
            self._process = subprocess.Popen(
                command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(
            lambda: "Listening on" in told.read_text() or self._process.poll() is not None,
            told.read_text,
            30,
        )
        assert self._process.poll() is None, told.read_text()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it took, in order."""
        lines = self._record.read_text().split("\n")[:-1] if self._record.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def taken(self) -> Counter[str]:
        """How often it took each text."""
        return Counter(str(message["text"]) for message in self.messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)


def need() -> None:
    """Fail where a system cannot be made here."""
    missing = [name for name in ("debootstrap", "unshare", "ip") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.fail(f"these tests need root, and {' '.join(missing) or 'nothing else'}", False)


def run(
    *command: str | Path, environment: Mapping[str, str] | None = None, seconds: float = 300
) -> str:
    """What a command of this host said that must not fail."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=seconds,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "TERM": "dumb",
}


def _system(suite: str) -> Path:
    """The tar file of a system."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"debian-{suite}-{platform.machine()}-{_RECIPE}.tar"
    with Path(f"{made}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix=f"{suite}.part-", dir=cache) as part:
                _bootstrap(suite, Path(part, "root"))
                archive = Path(part, "tar")
                subprocess.run(["tar", "-cf", archive, "-C", Path(part, "root"), "."], check=True)
                archive.rename(made)
    return made


def _bootstrap(system: str, root: Path) -> None:
    suite = system.partition("+")[0]
    scripts = Path("/usr/share/debootstrap/scripts")
    script = suite if (scripts / suite).exists() else "sid"  # newer than the debootstrap here
    include = () if system == BARE else ("--include=python3,adduser",)
    making = [*include, f"--keyring={KEYRING}", suite, root, mirror(), scripts / script]
    _apart("--mount-proc", "debootstrap", "--variant=minbase", *making)
    denied = root / "usr/sbin/policy-rc.d"  # else Asterisk would start here
    denied.write_text("#!/bin/sh\nexit 101\n")
    denied.chmod(0o755)
    if more := _MORE.get(system):
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *more]
        _apart("sh", "-ec", 'mount -t proc proc "$0/proc"; chroot "$@"', root, root, *install)
    with suppress(FileNotFoundError):
        shutil.rmtree(root / "var/cache/apt/archives")
    denied.unlink()


def _apart(*command: str | Path) -> None:
    """Run it in namespaces, so that what it has mounted goes with it if it is interrupted."""
    unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
    run(*unshare, *command, environment=os.environ | ENVIRONMENT, seconds=600)
