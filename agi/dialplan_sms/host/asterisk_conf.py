"""asterisk.conf, read leniently as Asterisk does, and its folders."""

from collections.abc import Mapping
from pathlib import Path

from dialplan_sms.host.asterisk_syntax import lines
from dialplan_sms.host.files import content_of
from dialplan_sms.host.identity import HostError


def read(path: Path) -> bytes:
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
            name, mark = header
            section = found.setdefault(name.lower() + ("!" if "!" in mark else ""), {})
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
    if ".." in text.split("/") or not text.strip("/"):
        raise HostError(f"{text}, {key} in {conf}, is no folder of Asterisk's: name it without ..")
    return Path(text)
