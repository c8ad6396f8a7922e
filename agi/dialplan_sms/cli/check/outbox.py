"""The outbox: its disk, its rights, and whether it opens."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from dialplan_sms.cli.check import Finding
from dialplan_sms.host.identity import READ, RUN, WRITE, HostError, User, blocked, changer, current
from dialplan_sms.host.process import run
from dialplan_sms.outbox.database import OutboxError, explain, open_engine, place, sqlite_file
from dialplan_sms.outbox.schema import VERSION, meta

MOUNTS = Path("/proc/self/mountinfo")
DISK = Finding("disk")
OUTBOX = Finding("outbox", (DISK.name,))
_MIB = 1 << 20
_NETWORKED = tuple("nfs cifs smb 9p ceph glusterfs fuse.sshfs fuse.glusterfs afs lustre".split())
_LOCKED = 2.0  # seconds to wait for a locked SQLite file
_DO = "correct outbox in sms.conf"
_OPEN = """
import json, sqlite3, sys, urllib.parse
file, patience, meta = sys.argv[1:]
error = version = None
try:
    # With the right to write, since what a crash left behind is rolled back by who reads.
    place = f"file:{urllib.parse.quote(file)}?mode=rw"
    database = sqlite3.connect(place, uri=True, timeout=float(patience))
    database.execute("BEGIN IMMEDIATE")
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (meta,)).fetchone():
        version = dict(database.execute(f"SELECT name, value FROM {meta}")).get("version")
    database.execute("ROLLBACK")
except sqlite3.Error as failure:
    error = str(failure)
print(json.dumps([error or "", version]))
"""
"""Asks the file as who can change it: SQLite believes a journal that lies beside it, whoever left
it there, and deletes a file that this names."""


def check(outbox: str, user: User) -> Iterator[Finding]:
    if not outbox:
        yield DISK.skipped("no outbox in sms.conf")
        yield OUTBOX.skipped("none in sms.conf: queue, fallback and counted limits need one")
        return
    try:
        engine = open_engine(outbox)
    except OutboxError as error:
        yield OUTBOX.refused(error, _DO)
        return
    if file := sqlite_file(engine.url):
        yield _disk(Path(file).parent)
        yield _rights(Path(file), user) or _sqlite(Path(file), engine.url)
    else:
        yield DISK.skipped("the server's")
        yield _server(engine)


def _disk(folder: Path) -> Finding:
    try:
        left, kind = shutil.disk_usage(folder).free, file_system(folder.stat().st_dev)
    except OSError:
        return DISK.skipped(f"there is no {folder}")
    space = f"{left / _MIB:.0f} MiB" if left < 10240 * _MIB else f"{left / 1024 / _MIB:.0f} GiB"
    return (
        (kind.startswith(_NETWORKED) and DISK.warning(
            f"{folder} is on a network file system ({kind}), where locks are not reliable",
            "put the outbox on a local disk, or on PostgreSQL"))
        or (left < 10 * _MIB and DISK.wrong(
            f"{space} are free for {folder}: nothing can be stored", "free some space"))
        or (left < 200 * _MIB and DISK.warning(f"{space} are free for {folder}", "free some space"))
        or DISK.ok(f"{space} free for {folder}")
    )  # fmt: skip


def file_system(device: int) -> str:
    """The type of the file system on *device*."""
    number, found = f"{os.major(device)}:{os.minor(device)}", None
    with contextlib.suppress(OSError):
        found = re.search(rf"(?m)^\d+ \d+ {number} .*? - (\S+)", MOUNTS.read_text())
    return found[1] if found else ""


def _rights(file: Path, user: User) -> Finding | None:
    """What there is to say of an SQLite *file* before it is opened."""
    folder, own = file.parent, f"chown {user.owner}:{user.group}"
    parts = (file.with_name(file.name + end) for end in ("", "-journal", "-wal", "-shm"))
    return (
        (not os.path.isdir(folder) and OUTBOX.wrong(
            f"there is no folder {folder}",
            f"install -d -o {user.owner} -g {user.group} -m 0750 {folder}"))
        or OUTBOX.if_blocked(folder, WRITE | RUN, user, f"{own} {folder} && chmod 0750 {folder}")
        or (not os.path.exists(file) and OUTBOX.ok(f"{file} is made with the first SMS"))
        or (not os.path.isfile(file) and OUTBOX.wrong(f"{file} is not a file", _DO))
        or next(filter(None, (
            OUTBOX.if_blocked(part, READ | WRITE, user, f"{own} {part} && chmod 0640 {part}")
            for part in parts)), None)
        or (os.statvfs(folder).f_flag & os.ST_RDONLY and OUTBOX.wrong(
            f"the file system of {folder} is read-only", "mount it writable"))
        or (blocked(file, READ | WRITE, current()) and OUTBOX.skipped(
            f"{file}: run check as root or as {user.name} to see into it"))
        or None
    )  # fmt: skip


def _sqlite(file: Path, url: sa.URL) -> Finding:
    try:
        become = changer(file) or changer(Path(os.path.realpath(file)).parent)
    except HostError as error:
        return OUTBOX.skipped(f"{file} is not looked into: {error}")
    command = [sys.executable, "-I", "-c", _OPEN, str(file), str(_LOCKED), meta.name]
    told = run(command, _LOCKED + 5.0, become).last_line
    try:
        said, version = json.loads(told)
    except ValueError:
        who = f" as {become.name}" if become and os.geteuid() == 0 else ""
        return OUTBOX.skipped(f"{file} cannot be looked into{who}: {told[-200:]}")
    return (
        ("locked" in said and OUTBOX.wrong(
            f"{file} is locked by another program for more than {_LOCKED:.0f} s",
            f"see which: fuser -v {file}"))
        or (said and OUTBOX.refused(explain(sqlite3.OperationalError(said), url), _DO))
        or _of_version(version, str(file))
    )  # fmt: skip


def _server(engine: sa.Engine) -> Finding:
    url, query = engine.url, sa.select(meta.c.value).where(meta.c.name == "version")
    where, may_create = place(url), "SELECT has_schema_privilege(current_schema(), 'CREATE')"
    try:
        with engine.connect() as connection:
            is_made = sa.inspect(connection).has_table(meta.name)
            version = connection.scalar(query) if is_made else None
            may = is_made or connection.exec_driver_sql(may_create).scalar()
    except (sa.exc.SQLAlchemyError, OSError) as error:
        return OUTBOX.refused(explain(error, url), _DO)
    finally:
        engine.dispose()
    return _of_version(version, where) if may else OUTBOX.wrong(
        f"{url.username} may not make tables in {where}",
        f"GRANT CREATE ON SCHEMA public TO {url.username}",
    )  # fmt: skip


def _of_version(version: str | None, where: str) -> Finding:
    return (
        (version is None and OUTBOX.ok(f"{where}, its tables are made with the first SMS"))
        or (int(version) > VERSION and OUTBOX.wrong(
            f"{where} was made by a newer dialplan-sms, tables of version {version}",
            "update this host"))
        or OUTBOX.ok(where)
    )  # fmt: skip
