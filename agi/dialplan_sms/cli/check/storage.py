"""The outbox: its disk, its rights, and whether it opens."""

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from dialplan_sms.cli.check.finding import Finding, ok, skipped, warning, wrong
from dialplan_sms.host.identity import READ, RUN, WRITE, HostError, User, blocked, changer, current
from dialplan_sms.host.process import run
from dialplan_sms.outbox.database import OutboxError, explain, open_engine
from dialplan_sms.outbox.schema import VERSION, meta

OUTBOX, DISK = "outbox", "disk"
_MIB = 1 << 20
_TOO_LITTLE, _LITTLE = 10 * _MIB, 200 * _MIB
_NETWORKED = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "afs",
    "lustre",
)
_LOCKED = 2.0
"""Seconds to wait for a locked SQLite file."""
_PATIENCE = 5.0
_LOOK = """
import json, sqlite3, sys, urllib.parse
file, patience, meta = sys.argv[1:]
told = {"version": None, "error": None}
try:
    # With the right to write, since what a crash left behind is rolled back by who reads.
    place = f"file:{urllib.parse.quote(file)}?mode=rw"
    database = sqlite3.connect(place, uri=True, timeout=float(patience))
    database.execute("BEGIN IMMEDIATE")
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (meta,)).fetchone():
        told["version"] = dict(database.execute(f"SELECT name, value FROM {meta}")).get("version")
    database.execute("ROLLBACK")
except sqlite3.Error as error:
    told["error"] = str(error)
print(json.dumps(told))
"""
"""Asks the file as who can change it: SQLite believes a journal that lies beside it, whoever left
it there, and deletes a file that this names."""


def check(
    outbox: str,
    user: User,
    free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    mounts: Path = Path("/proc/self/mountinfo"),
) -> Iterator[Finding]:
    """The lines of the outbox; *free* gives the bytes that are left in a folder."""
    if not outbox:
        yield skipped(DISK, "no outbox in sms.conf")
        yield skipped(OUTBOX, "none in sms.conf: queue, fallback and counted limits need one")
        return
    try:
        url = make_url(outbox)
        engine = open_engine(outbox)
    except (SQLAlchemyError, ValueError, OutboxError) as error:
        yield wrong(OUTBOX, *_split(str(error)))
        return
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        yield _disk(file.parent, free, mounts)
        yield _sqlite(file, url, user)
        return
    yield skipped(DISK, "the server's")
    yield _server(engine, url)


def _disk(folder: Path, free: Callable[[Path], int], mounts: Path) -> Finding:
    try:
        left = free(folder)
    except OSError:
        return skipped(DISK, f"there is no {folder}")
    kind = file_system(folder, mounts)
    if kind.startswith(_NETWORKED):
        says = f"{folder} is on a network file system ({kind}), where locks are not reliable"
        return warning(DISK, says, "put the outbox on a local disk, or on PostgreSQL")
    space = f"{left / _MIB:.0f} MiB" if left < 10240 * _MIB else f"{left / 1024 / _MIB:.0f} GiB"
    if left < _TOO_LITTLE:
        return wrong(
            DISK, f"{space} are free for {folder}: nothing can be stored", "free some space"
        )
    if left < _LITTLE:
        return warning(DISK, f"{space} are free for {folder}", "free some space")
    return ok(DISK, f"{space} free for {folder}")


def file_system(folder: Path, mounts: Path) -> str:
    """The type of the file system that *folder* is on, as /proc/self/mountinfo names it."""
    best, kind = "", ""
    path = os.path.realpath(folder)
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ")
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def _sqlite(file: Path, url: URL, user: User) -> Finding:
    needs = [DISK]
    folder = file.parent
    if not os.path.isdir(folder):
        do = f"install -d -o {user.owner} -g {user.group} -m 0750 {folder}"
        return wrong(OUTBOX, f"there is no folder {folder}", do)
    bar = blocked(folder, WRITE | RUN, user)
    if bar:
        own = f"chown {user.owner}:{user.group} {folder} && chmod 0750 {folder}"
        return wrong(OUTBOX, bar.says, own if bar.path == folder else bar.do)
    if not os.path.exists(file):
        return ok(OUTBOX, f"{file} is made with the first SMS")
    if not os.path.isfile(file):
        return wrong(OUTBOX, f"{file} is not a file", "correct outbox in sms.conf")
    for part in (file, *(file.with_name(file.name + end) for end in ("-journal", "-wal", "-shm"))):
        bar = blocked(part, READ | WRITE, user)
        if bar and not bar.missing:  # SQLite removes its journal at each commit
            return wrong(
                OUTBOX, bar.says, f"chown {user.owner}:{user.group} {part} && chmod 0640 {part}"
            )
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return wrong(OUTBOX, f"the file system of {folder} is read-only", "mount it writable")
    if blocked(file, READ | WRITE, current()):
        return skipped(OUTBOX, f"{file}: run check as root or as {user.name} to see into it")
    return _open(file, url, needs)


def _open(file: Path, url: URL, needs: list[str]) -> Finding:
    try:
        become = changer(file) or changer(file.parent)
    except HostError as error:
        return skipped(OUTBOX, f"{file} is not looked into: {error}")
    command = [sys.executable, "-I", "-c", _LOOK, str(file), str(_LOCKED), meta.name]
    ran = run(command, _LOCKED + _PATIENCE, become)
    try:
        told = json.loads(ran.out)
    except ValueError:
        who = f" as {become.name}" if become and os.geteuid() == 0 else ""
        return skipped(OUTBOX, f"{file} cannot be looked into{who}: {ran.error.strip()[-200:]}")
    if said := told["error"]:
        if "locked" in said:
            says = f"{file} is locked by another program for more than {_LOCKED:.0f} s"
            return wrong(OUTBOX, says, f"see which: fuser -v {file}", needs=needs)
        return wrong(
            OUTBOX, *_split(str(explain(sqlite3.OperationalError(said), url))), needs=needs
        )
    return _versioned(told["version"], str(file))


def _versioned(version: Any, where: str) -> Finding:
    if version is None:
        return ok(OUTBOX, f"{where}, its tables are made with the first SMS")
    if int(version) > VERSION:
        says = f"{where} was made by a newer dialplan-sms, tables of version {version}"
        return wrong(OUTBOX, says, "update this host")
    return ok(OUTBOX, where)


def _server(engine: sa.Engine, url: URL) -> Finding:
    where = f"{url.database} on {url.host or 'this host'}"
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table(meta.name):
                may = connection.exec_driver_sql(
                    "SELECT has_schema_privilege(current_schema(), 'CREATE')"
                ).scalar()
                if not may:
                    return wrong(
                        OUTBOX,
                        f"{url.username} may not make tables in {where}",
                        f"GRANT CREATE ON SCHEMA public TO {url.username}",
                    )
                return _versioned(None, where)
            query = sa.select(meta.c.value).where(meta.c.name == "version")
            return _versioned(connection.scalar(query), where)
    except (SQLAlchemyError, OSError) as error:
        return wrong(OUTBOX, *_split(str(explain(error, url))))
    finally:
        engine.dispose()


def _split(text: str) -> tuple[str, str]:
    """What database.explain() says, and what it advises."""
    says, found, do = text.rpartition(": ")
    return (says, do) if found else (text, "correct outbox in sms.conf")
