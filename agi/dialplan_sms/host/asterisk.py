"""The Asterisk of this host: its process, the user that runs it, and its asterisk.conf."""

import getopt
import grp
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dialplan_sms.host.asterisk_syntax import lines
from dialplan_sms.host.files import content_of
from dialplan_sms.host.identity import HostError, User, by_id, changer, changers, named, refuse

# All letters, as versions differ; some take a value (Asterisk: main/asterisk.c, getopt).
_OPTIONS = "C:G:L:M:U:e:s:x:ABDEFHIJKNOPQRSTVWXYZabcdfghijklmnopqrtuvwyz"
_USUAL = (Path("/etc/asterisk/asterisk.conf"),)


@dataclass(frozen=True, slots=True)
class Process:
    """An Asterisk that runs; ``conf`` is its -C, None if it uses the one it was built with.

    ``command`` is what it was called with, options left out; ``program`` is what it runs, None if
    that is a loader, or cannot be seen.
    """

    user: User
    command: tuple[str, ...]
    conf: Path | None
    program: Path | None = None


def running(proc: Path, guess: bool = False) -> list[Process]:
    """Every Asterisk of this host; those in containers have files of their own and are none.

    *guess*: also those of which /proc tells root alone whether they are one; only to show them.
    """
    return [process for entry in sorted(proc.glob("[0-9]*")) if (process := _process(entry, guess))]


def using(
    processes: Iterable[Process], conf: Path, runuser: str, usual: Sequence[Path] = _USUAL
) -> list[Process]:
    """The processes of the Asterisk of *conf*; one without -C may use each of *usual*.

    Any user can run a program of that name. So only users are believed who decide on this host:
    root, who runs this, ``asterisk``, who can change *conf*, and its *runuser*.
    """
    known = [user.uid for user in map(named, ("asterisk", runuser)) if user]
    believed = {0, os.geteuid(), *changers(conf), *known}
    real = os.path.realpath(conf)
    return [
        process
        for process in processes
        if process.user.uid in believed
        and real in map(os.path.realpath, [process.conf] if process.conf else usual)
    ]


def _process(entry: Path, guess: bool) -> Process | None:
    with suppress(OSError, ValueError, LookupError, StopIteration):  # also of one that has ended
        arguments = (entry / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")
        # Second to fifth: if it is run through another loader.
        names = enumerate([f"/{arguments[0]}", *arguments[1:5]])
        place = next(n for n, word in names if word.endswith("/asterisk"))
        hidden, program, root = (PermissionError,) if guess else (), None, None
        with suppress(*hidden):
            program, root = os.readlink(entry / "exe"), os.readlink(entry / "root")
        options: dict[str, str] = {}
        with suppress(getopt.GetoptError):
            options = dict(getopt.gnu_getopt(arguments[place + 1 :], _OPTIONS)[0])
        told = re.findall(r"(?m)^(\w+):(.*)$", (entry / "status").read_text(errors="replace"))
        status = {name: values.split() for name, values in told}
        is_console = not options.keys().isdisjoint(("-r", "-R", "-x"))  # of another one
        # As far as can be seen.
        is_contained = len(status.get("NSpid", ())) > 1 if root is None else root != "/"
        # The arguments alone say nothing: an editor has the name of a file among them, too.
        programs = r"asterisk\b|ld[-.\d]" if place else r"asterisk\b"
        is_it = re.match(programs, os.path.basename(program)) if program else place == 0
        if is_console or is_contained or not is_it:
            return None
        conf = options.get("-C", "")
        if conf and not conf.startswith("/"):
            conf = os.path.join(os.readlink(entry / "cwd"), conf)
        # Its own program can be run again, also after its update.
        own = Path((program or "").removesuffix(" (deleted)"))
        # The real ids: anybody can start a set-user-id program under the name asterisk.
        uid, *gids = map(int, (status["Uid"][0], status["Gid"][0], *status.get("Groups", ())))
        return Process(
            by_id(uid, gids),
            tuple(arguments[: place + 1]),
            Path(conf) if conf else None,
            own if re.match(r"asterisk\b", own.name) and own.is_file() else None,
        )
    return None


def user_of(process: Process | None, options: Mapping[str, str], spool: Path, conf: Path) -> User:
    """Who runs Asterisk, and so the service; its first group is the service's.

    As the process says, else runuser, else the owner of the spool folder, else ``asterisk``.
    Raises HostError.
    """
    if process is not None:
        user = process.user
    elif spool.is_dir() and "runuser" not in options:
        user = by_id(spool.stat().st_uid, [spool.stat().st_gid])
    else:
        user = _user_in(options, conf)
    # The service does what files beside conf say, and would do so with the rights of that user.
    other = None if process is not None else changer(conf)
    refuse(
        other and (user.uid != other.uid or user.gids[0] not in other.gids),
        f"{other} can change {conf}, by which the service would run as {user.name}: start"
        " Asterisk, so that setup sees who runs it, or move the file to a folder of root's",
    )
    refuse(
        user.owner.isdigit() or user.group.isdigit(),
        f"Asterisk has user id {user.uid}, group id {user.gids[0]}, and one of them has no name"
        " here: make that user and group (adduser, addgroup), or name others in asterisk.conf",
    )
    return user


def _user_in(options: Mapping[str, str], conf: Path) -> User:
    """The runuser and rungroup of *conf*, else the user ``asterisk``. Raises HostError."""
    name, group = options.get("runuser") or "asterisk", options.get("rungroup")
    user = named(name)
    if user is None:
        whence = "runuser" if options.get("runuser") else "there is no runuser"
        raise HostError(
            f"there is no user {name!r} here ({whence} in {conf}): install Asterisk first, or make"
            f" the user it runs as (adduser --system --group {_shown(name)}), or name another one,"
            " runuser = <user> below [options] in asterisk.conf"
        )
    with suppress(KeyError, ValueError):
        return by_id(user.uid, [grp.getgrnam(group).gr_gid]) if group else user
    raise HostError(
        f"there is no group {group!r} here (rungroup in {conf}): make it (addgroup --system"
        f" {_shown(group or '')}), or name another one there"
    )


def _shown(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else "<name>"


def refuse_foreign(path: Path, key: str, conf: Path) -> None:
    """Raise HostError if who can change *conf* names a folder for root that is not Asterisk's."""
    user, is_asterisks = changer(conf), "asterisk" in os.path.realpath(path).lower()
    with suppress(OSError):
        is_asterisks = is_asterisks or user is None or path.stat().st_uid == user.uid
    refuse(
        not is_asterisks,
        f"{path}, {key} in {conf}, does not look like Asterisk's, and {user} can change {conf}:"
        " make it that user's, or asterisk.conf and its folder root's",
    )


def read_conf(path: Path) -> bytes:
    """What *path* holds. Raises HostError if that is no file or larger than 32 MiB."""
    try:
        content = content_of(path)
    except OSError as error:
        raise HostError(f"{path} cannot be read, {error.strerror}") from None
    if content is None:
        raise HostError(f"there is no {path}: name the right one with --asterisk-conf")
    return content


def settings(content: bytes) -> dict[str, dict[str, str]]:
    """The sections of asterisk.conf; keys in small letters.

    A section that is marked ``(!)`` is a template, which Asterisk does not use: its name ends in
    an exclamation mark here. In the samples its values are those that Asterisk was built with.
    """
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in lines(content.decode("utf-8", "surrogateescape")):
        if header := line.header:
            section = found.setdefault(header[0].lower() + "!" * ("!" in header[1]), {})
        elif pair := line.pair:
            section[pair[0].lower()] = pair[1]
    return found


def folder(folders: Mapping[str, str], key: str, conf: Path) -> Path | None:
    """The absolute path that *folders*, of *conf*, have for *key*; None for none that can be used.

    Raises HostError for ``/``, and for a path with ``..``, which says other than it leads to.
    """
    text = folders.get(key)
    if not text or not text.startswith("/") or not text.isprintable():
        return None
    is_another = ".." in text.split("/") or not text.strip("/")
    refuse(is_another, f"{text}, {key} in {conf}, is no folder of Asterisk's: name it without ..")
    return Path(text)
