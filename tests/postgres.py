"""A real PostgreSQL of one's own, from Debian's package: its cluster lives in a folder."""

import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.asterisk.serving import free_port
from tests.children import end_with_parent

PROGRAMS_VARIABLE = "DIALPLAN_SMS_POSTGRESQL"  # names their folder, if not the host's are wanted
_START = 30.0  # seconds until one that does not answer is given up
_NOBODY = 65534
# The postmaster's children end by themselves once it is gone.
_end_with_us = partial(end_with_parent, signal.SIGQUIT)
_OPTIONS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=on",
    "max_connections=50",
    "shared_buffers=64MB",
    "log_min_messages=warning",
    "jit=off",  # LLVM is not everywhere, and compiles for longer than a test's statements take
)


class PostgresUnavailable(Exception):
    """There is no PostgreSQL on this host; its text is what to run."""


class Postgres:
    """A PostgreSQL server on a free port of loopback that asks for no password.

    Of a *primary*, if one is given, it is a standby until it is promoted.

    *folder* is its own, and handed to the user that the server runs as, who must be able to reach
    it: pytest's tmp_path is closed to others. The host's own cluster is not touched. Its processes
    end with the thread that starts them, whatever ends it.
    """

    def __init__(
        self, folder: Path, primary: "Postgres | None" = None, options: Sequence[str] = ()
    ) -> None:
        self._primary = primary
        self._options = (*_OPTIONS, *options)
        self._programs = _programs()
        self._data = folder / "data"
        self._told = folder / "log"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.RLock()
        """Held while it starts or ends: tests stop it in one thread and start it in another."""
        self.port = free_port()  # which the kernel gives to nobody between a stop and a start

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:  # the server refuses to run as root
            os.chown(self._folder, _NOBODY, _NOBODY)
        program, options = "initdb", ["--auth=trust", "--encoding=UTF8", "--locale=C"]
        if self._primary:
            port = f"--port={self._primary.port}"
            program, options = "pg_basebackup", ["--write-recovery-conf", "--host=127.0.0.1", port]
        made = subprocess.run(
            [self._programs / program, *options, "--no-sync", "-U", "postgres", "-D", self._data],
            capture_output=True, text=True, timeout=60, **self._user(),
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"{program}: {made.stderr.strip()[-500:]}")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._data, ignore_errors=True)

    def create_database(self, name: str) -> str:
        """An empty database; its URL."""
        self.execute(f'CREATE DATABASE "{name}"')
        return self._url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> list[Any]:
        """Run *statement* as the superuser, in a connection of its own; its rows."""
        with self._connect() as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []

    def start(self) -> None:
        """Start it, also after stop(), and wait until it answers. Does nothing while it runs."""
        options = [f"--{option}" for option in (*self._options, f"port={self.port}")]
        with self._turn, self._told.open("ab") as told:
            if self._process is not None:
                return
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.PIPE, stdout=told, stderr=told, process_group=0,
                preexec_fn=_end_with_us, **self._user(),
            )  # fmt: skip
            try:
                self._wait()
            except BaseException:
                self.stop()
                raise

    def restart_immediately(self) -> None:
        """Have it drop everything as after a crash, and recover on the same port."""
        with self._turn:
            self.crash()
            self.start()

    def promote(self) -> None:
        """Make a standby take writes."""
        self.execute("SELECT pg_promote()")

    def crash(self) -> None:
        """Have it drop everything, and leave it so."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it; who is connected is cut off."""
        self._end(signal.SIGINT)

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def _connect(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres",
            connect_timeout=5, autocommit=True,
        )  # fmt: skip

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._connect().close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        said = self._told.read_text(errors="replace")[-500:]
        raise RuntimeError(f"PostgreSQL does not answer: {said}")

    def _end(self, number: signal.Signals) -> None:
        with self._turn:
            process, self._process = self._process, None
            if process is None:
                return
            for each, patience in ((number, 10), (signal.SIGQUIT, 10), (signal.SIGKILL, 30)):
                process.send_signal(each)  # does nothing where it has ended
                if _all_ended(process, patience):
                    return
            raise RuntimeError("PostgreSQL does not end")

    def _user(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {"cwd": self._folder}
        return {"cwd": self._folder, "user": _NOBODY, "group": _NOBODY, "extra_groups": []}


def _programs() -> Path:
    """The folder of the newest PostgreSQL's programs, or that in the environment."""
    if chosen := os.environ.get(PROGRAMS_VARIABLE):
        return Path(chosen)
    found = sorted(Path("/usr/lib/postgresql").glob("[0-9][0-9]/bin/postgres"))
    if not found:
        raise PostgresUnavailable("apt install postgresql")
    return found[-1].parent


def _all_ended(process: "subprocess.Popen[bytes]", patience: float) -> bool:
    """Wait for the server and all its processes: until then, no other can start in its place.

    Each has the reading end of the pipe that is its standard input, and nobody else has.
    """
    assert process.stdin is not None
    ended = select.poll()
    ended.register(process.stdin, 0)  # POLLERR comes unasked
    if not ended.poll(patience * 1000):
        return False
    process.communicate()
    return True


@contextmanager
def temporary(primary: Postgres | None = None, options: Sequence[str] = ()) -> Iterator[Postgres]:
    """A server in a folder of its own, which the user that it runs as can reach (not pytest's)."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        with Postgres(Path(folder) / "server", primary, options) as server:
            yield server


@contextmanager
def with_standby() -> Iterator[tuple[Postgres, Postgres]]:
    """A server that has committed only what its standby has, too; and the standby."""
    # On its command line, which the standby does not inherit: promoted, it commits alone.
    with (
        temporary(options=["synchronous_standby_names=*"]) as primary,
        temporary(primary) as standby,
    ):
        yield primary, standby


def url_of(*ports: int) -> str:
    """The URL of the database that every server has, on the one of these that takes writes."""
    hosts = "&".join(f"host=127.0.0.1:{port}" for port in ports)
    return f"postgresql+psycopg://postgres@/postgres?{hosts}"
