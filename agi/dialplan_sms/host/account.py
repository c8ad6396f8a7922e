"""The user and the group that run Asterisk, and so the service."""

import grp
import pwd
import re
from contextlib import suppress
from pathlib import Path

from dialplan_sms.host import trust
from dialplan_sms.host.asterisk_process import Process
from dialplan_sms.host.rights import HostError


def owners(conf: Path) -> set[int]:
    """Who can change the file, or put another in its place."""
    with suppress(OSError):
        return trust.owners(conf)
    return set()


def of_asterisk(
    process: Process | None, options: dict[str, str], spool: Path, conf: Path
) -> tuple[int, int, str, str]:
    """Who runs Asterisk: the process, runuser, the owner of its spool folder, else asterisk.

    User and group id, and their names. Raises HostError.
    """
    if process is not None:
        return _named(process.uid, process.gid, "Asterisk runs as")
    if options.get("runuser"):
        uid, gid = _user_called(options["runuser"], f"runuser in {conf}")
        if options.get("rungroup"):
            gid = _group_called(options["rungroup"], f"rungroup in {conf}")
        _refuse_claim(uid, gid, conf)
        return _named(uid, gid, f"runuser in {conf} has")
    if spool.is_dir():
        status = spool.stat()
        _refuse_claim(status.st_uid, status.st_gid, conf)
        return _named(status.st_uid, status.st_gid, f"{spool} belongs to")
    uid, gid = _user_called("asterisk", f"there is no runuser in {conf}")
    _refuse_claim(uid, gid, conf)
    return _named(uid, gid, "asterisk has")


def _refuse_claim(uid: int, gid: int, conf: Path) -> None:
    """Raise HostError where a user who can change *conf* has named another to run the service as.

    The service does what the files in that folder say, and would do so with another's rights.
    """
    for owner in sorted(owners(conf) - trust.ours()):
        _, group, name, _ = _named(owner, _group_of(owner), f"{conf} belongs to")
        if uid != owner or gid not in (group, conf.stat().st_gid):
            raise HostError(
                f"the user {name} can change {conf}, by which the service would run as"
                f" {trust.name_of(uid)}: start Asterisk, so that setup sees who runs it, or move"
                f" the file to a folder of root's"
            )


def _group_of(uid: int) -> int:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_gid
    return -1


def _user_called(name: str, whence: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise HostError(
            f"there is no user {name!r} here ({whence}): install Asterisk first, or make the user"
            f" it runs as (adduser --system --group {_shown(name)}), or name another one,"
            f" runuser = <user> below [options] in asterisk.conf"
        ) from None
    return entry.pw_uid, entry.pw_gid


def _group_called(name: str, whence: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise HostError(
            f"there is no group {name!r} here ({whence}): make it (addgroup --system"
            f" {_shown(name)}), or name another one there"
        ) from None


def _shown(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else "<name>"


def _named(uid: int, gid: int, whose: str) -> tuple[int, int, str, str]:
    try:
        return uid, gid, pwd.getpwuid(uid).pw_name, grp.getgrgid(gid).gr_name
    except KeyError:
        raise HostError(
            f"{whose} user id {uid}, group id {gid}, and one of them has no name here: make that"
            " user and group (adduser, addgroup), or give the files to ones that there are"
        ) from None
