"""sms.conf: Asterisk's style of file (host/asterisk_syntax), in which no mistake is silent."""

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.host import ConfigError as ConfigError
from dialplan_sms.host.asterisk_syntax import lines


def refuse(wrong: object, says: str) -> None:
    """Raise ConfigError if something is *wrong*."""
    if wrong:
        raise ConfigError(says)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a section or a key stands; prints as ``file:line``."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Value:
    """One value; it may be a secret, so it does not show."""

    text: str = field(repr=False)
    place: Place


@dataclass(frozen=True, slots=True)
class Section:
    """One ``[name]`` with its keys, in the file's order."""

    name: str
    place: Place
    values: dict[str, Value]


_SECTION = re.compile(r"\[([^\[\]]+)\]")
_PAIR = re.compile(r"([A-Za-z0-9_]+)\s*=>?\s*(.*)", re.DOTALL)
_WRONG = {
    "[": "a section is a name in square brackets, no template",
    "#": "no #include or #exec here, and a comment begins with a semicolon",
}
"""What is wrong with a line that begins so."""
_CREATE = "run dialplan-sms setup, or create it, or name yours with --config or DIALPLAN_SMS_CONF"
_LARGEST = 1 << 20


def version(path: Path) -> str:
    """What tells one version of a file from another, and nothing of what it says; or empty."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def read_private(path: Path, what: str, named_by: Path | None = None) -> str:
    """The UTF-8 text of a file that others must not read, at most 1 MiB.

    Raises ConfigError if it is missing, unreadable, world-readable or no UTF-8; as root, also
    if who can change the file that it is *named_by* could not read it.
    """
    try:
        # Not to wait for the writer of a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            is_file = stat.S_ISREG(status.st_mode)
            refuse(not is_file, f"{path} is not a regular file: {what} must be one")
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        cure = _CREATE if what == "sms.conf" else f"create {what}"
        raise ConfigError(f"there is no {path}: {cure}") from None
    except PermissionError:
        raise ConfigError(_not_for_us(path)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no path"
        raise ConfigError(f"{path} cannot be read, {why}: {what} must be a file") from None
    refuse(
        status.st_mode & (stat.S_IROTH | stat.S_IWOTH),
        f"{path} can be read or changed by everybody on this host, and it holds secrets:"
        f" run {_rights(path)}",
    )
    if named_by is not None and os.geteuid() == 0:
        _refuse_secret(status, path, named_by)
    refuse(len(content) > _LARGEST, f"{path} is larger than 1 MiB: {what} must be smaller")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8: save the file as UTF-8") from None


def _refuse_secret(status: os.stat_result, path: Path, conf: Path) -> None:
    """Refuse a secret that who can change *conf* may not read: it says where root sends it."""
    from dialplan_sms.host.identity import READ, blocked, changer  # only for root

    user = changer(conf)
    if user and (not user.may(status, READ) or blocked(path, READ, user)):
        raise ConfigError(
            f"{user}, who can change {conf.name}, may not read {path}: chown {user.owner} {path}"
        )


def _not_for_us(path: Path) -> str:
    """What to say of a file that this user may not read."""
    says = f"{path} cannot be read by user id {os.geteuid()}"
    with contextlib.suppress(OSError, KeyError):
        found = path.stat()
        if found.st_mode & stat.S_IRGRP and found.st_gid:
            import grp

            group = grp.getgrgid(found.st_gid).gr_name
            return f"{says}, only by root and the group {group}: run this as root or as {group}"
    return f"{says}: run {_rights(path)}"


def _rights(path: Path) -> str:
    # No && between the two: SMS_REASON, which repeats this, loses it.
    return f"chgrp asterisk {path}, then chmod 0640 {path}"


def parse(text: str, path: Path) -> dict[str, Section]:
    """The sections of *text* by their names; *path* is for the errors. Raises ConfigError."""
    sections: dict[str, Section] = {}
    values: dict[str, Value] = {}
    for line in lines(re.sub(r"\r\n?", "\n", text)):
        # What the line says is never quoted: it may hold a password.
        said, place = line.text, Place(path, line.number)
        if pair := _PAIR.fullmatch(said):
            key, value = pair[1].lower(), Value(pair[2], place)
            refuse(not sections, f"{place}: {pair[1]} stands before the first [section]")
            first = values.setdefault(key, value)
            if first is not value and key == "user":  # which may stand more than once
                values[key] = Value(f"{first.text}\n{value.text}", first.place)
            elif first is not value:
                raise ConfigError(f"{place}: {key} is set already in line {first.place.line}")
        elif header := _SECTION.fullmatch(said):
            name, values = header[1].strip(), {}
            other = sections.setdefault(name, Section(name, place, values)).place
            refuse(other is not place, f"{place}: [{name}] stands already in line {other.line}")
        elif said:
            why = _WRONG.get(said[0], "neither [section] nor key = value")
            raise ConfigError(f"{place}: {why}")
    return sections
