"""The keys of sms.conf, each described once; how they are read follows from that.

A key of a sender is one line of Sender, one of ``[general]`` a line of Config (config/config.py),
one of ``[http]`` a line of Http (config/http.py). The line gives its type, how a value is read and
what is allowed, what the key is for, and its default.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dialplan_sms.config import values
from dialplan_sms.config.parser import ConfigError, Place, Value, refuse, version
from dialplan_sms.config.values import Bad, Kind, kind, must

if TYPE_CHECKING:
    from dialplan_sms.config.curl import Curl

HostPort = tuple[str, int]
"""A numeric host and a port."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its kind, what it is for, in one line, and the *field* that it fills.

    An address that only this host may reach unless ``allow`` is set is *local*: why, and what
    would let others in; that is empty if nothing does.
    """

    kind: Kind[Any]
    about: str
    secret: bool = False
    local: tuple[str, str] | None = None
    field: str = ""


def key(kind: Kind[Any], about: str, default: Any = MISSING, *, name: str = "", **more: Any) -> Any:
    """The field of a dataclass that the key *name* fills; by default the key has its name."""
    return field(
        default=default, repr=not more.get("secret"), metadata={name: Key(kind, about, **more)}
    )


def keys_of(section: type) -> dict[str, Key]:
    """The keys of a dataclass, by their names in sms.conf."""
    return {
        name or each.name: replace(key, field=each.name)
        for each in fields(section)
        for name, key in each.metadata.items()
    }


def read(
    given: Mapping[str, Value], known: Mapping[str, Key], senders: Collection[str] = ()
) -> dict[str, Any]:
    """The fields that *given* fill; what is not *known* is left out. Raises ConfigError."""
    found = {}
    for name in filter(known.__contains__, given):
        key, value = known[name], given[name]
        where = f"{value.place}: {name}"
        try:
            found[key.field] = key.kind(value.text, value.place)
        except Bad as bad:
            # A url with a name and a password in it is a secret, too.
            hidden = key.secret or "@" in value.text or not value.text
            shown = "" if hidden else f" = {value.text[:80]}"
            why = str(bad) or ("" if value.text else "empty")
            raise ConfigError(
                f"{where}{shown}{why and f', {why}'} - allowed: {key.kind.allowed}"
            ) from None
        refuse(
            key.kind is SECTION and value.text not in senders,
            f"{where}: there is no section [{value.text}], allowed: {', '.join(senders)}",
        )
        if key.local and not (key.local[1] and "allow" in given):
            from dialplan_sms.host.address import is_loopback  # ipaddress costs a call 2 ms

            says = "{}: {} is no loopback address{} - allowed: 127.0.0.1 and ::1{}"
            for host, _ in found[key.field]:
                refuse(not is_loopback(host), says.format(where, host, *key.local))
    return found


def named(given: Mapping[str, Value], known: Mapping[str, Key]) -> Iterator[tuple[str, Path]]:
    """The files that a section names, by their keys."""
    for name, value in given.items():
        folder = value.place.path.parent
        if known[name].kind.file and (path := folder.absolute() / value.text).is_file():
            yield name, path


def versions(given: Mapping[str, Value], known: Mapping[str, Key]) -> tuple[str, ...]:
    """What tells these files from others of the same names; nothing of what they say."""
    return tuple(version(path) for _, path in named(given, known))


def one_of(*words: str) -> Kind[str]:
    """One of these words, in small letters."""
    return Kind(lambda text, _: words[words.index(text.lower())], ", ".join(words))


def text(allowed: str) -> Kind[str]:
    """Text of at least one character, none of them a control character."""

    @kind(allowed)
    def read(text: str, _: Place) -> str:
        must(text.isprintable(), "control characters")
        return must(text)

    return read


def number(what: str, low: int, high: int, unit: str = "") -> Kind[int]:
    """A whole number of *what*, with its *unit* or without."""

    @kind(f"{what}, {low} to {high}")
    def read(text: str, _: Place) -> int:
        digits = must(re.fullmatch(r"[0-9]{1,6}", text.removesuffix(unit)))[0]
        must(low <= int(digits) <= high)
        return int(digits)

    return read


@kind("a curl line as the manual of the gateway shows it: docs/gateways.md has examples")
def _curl(text: str, place: Place) -> "Curl":
    from dialplan_sms.config import curl  # not for those who have no such sender

    return curl.read(text, place)


SECTION = text("the name of the section of a sender")
_TIME = Kind(values.duration.read, f"{values.duration.allowed}, 0 for none")


@dataclass(frozen=True, slots=True)
class Sender:
    """A PBX user who sends SMS, after whom the section is named; or a gateway with a ``curl``.

    What stands in ``[general]`` is the default of every sender.

    A gateway's ``url`` is scheme, host and port of its line. ``verify`` is ``yes``, ``no``, the
    absolute path of a CA file or ``sha256:`` and 64 hex digits. ``files`` are the versions of the
    files that it names: a new content makes another sender. Times are in seconds. A rate is how
    many SMS in how many seconds; ``allow`` and ``deny`` are countries (two letters) and prefixes
    (``+`` and digits).
    """

    name: str
    url: str = key(values.url, "the address of the PBX; or give curl", "")
    password: str = key(
        text("the password of the PBX user"),
        "the PBX user's password; or give password_file or token",
        "",
        secret=True,
    )
    token: str = key(
        text("an API key of the PBX"), "an API key, in place of a password", "", secret=True
    )
    curl: "Curl | None" = key(  # noqa: RUF009 - as the others, it makes a field
        _curl, "the request to an HTTP gateway, in place of url and password", None, secret=True
    )
    success: str = key(values.pattern, "what an answer has if the gateway took the SMS", "")
    refusal: str = key(
        values.pattern, "what an answer has if it certainly did not", "", name="failed"
    )
    gateway_id: str = key(
        values.pattern, "what in an answer is the gateway's own id of the SMS", "", name="id"
    )
    separator: str = key(
        Kind(lambda text, _: {",": ",", ";": ";", "space": " "}[text.lower()], r", or \; or space"),
        "what stands between the numbers of a request; else it has one",
        "",
        name="list",
    )
    verify: str = key(values.verify, "how the PBX proves who it is", "yes")
    gsm: str | None = key(values.gsm, "the GSM gateway, if a call names none", None)
    max_length: int = key(number("characters", 1, 10000), "the most characters of a text", 670)
    long_message: str = key(one_of("refuse", "truncate"), "what becomes of a longer text", "refuse")
    gsm7: str = key(
        one_of("keep", "typographic", "plain"),
        "what is changed in a text if it takes GSM-7 on the air then",
        "keep",
    )
    max_parts: int | None = key(
        number("parts", 1, 255), "the most SMS that a text takes on the air", None
    )
    country: str | None = key(
        values.country, "of national numbers; SMS go there alone, unless allow says more", None
    )
    short_numbers: bool = key(
        values.yes_no, "whether short codes, 3 to 6 digits, are numbers", False
    )
    mode: str = key(
        one_of("wait", "queue", "fallback"), "when an SMS is sent, if a call does not say", "wait"
    )
    call_timeout: float = key(
        number("seconds", 1, 300, "s"), "the most seconds that a call waits", 30.0
    )
    delivery: str = key(
        one_of("at-least-once", "at-most-once"),
        "whether a stored SMS that may have been sent is tried again",
        "at-least-once",
    )
    backup: str = key(SECTION, "the sender that takes what this one certainly did not send", "")
    backup_after: float = key(
        Kind(values.duration.read, f"{values.duration.allowed}, 0 for at once"),
        "after how long a stored SMS goes by the backup",
        30.0,
    )
    postpone: str = key(one_of("here", "pbx"), "who keeps an SMS that is to be sent later", "here")
    pace: float = key(_TIME, "how long a gateway rests after each number from the outbox", 5.0)
    batch: int = key(
        number("numbers in a request", 1, 500),
        "the most numbers in one request from the outbox",
        20,
    )
    max_age: float = key(values.duration, "how long a stored SMS is tried", 24 * 3600.0)
    keep_text: float = key(
        Kind(values.duration.read, f"{values.duration.allowed}, 0 for as long as needed"),
        "how long a text is kept once it is not needed",
        0.0,
    )
    allow: tuple[str, ...] = key(
        values.places, "where SMS may go; by default to country, or to all without one", ()
    )
    deny: tuple[str, ...] = key(values.denied, "where SMS may not go, even if allow has it", ())
    per_number: tuple[int, float] | None = key(values.rate, "the most SMS to one number", None)
    per_sender: tuple[int, float] | None = key(values.rate, "the most SMS of this sender", None)
    per_caller: tuple[int, float] | None = key(values.rate, "the most SMS of one caller", None)
    repeat_window: float = key(_TIME, "how long the same text to the same number is refused", 0.0)
    on_failure: str = key(values.program, "the program that is told what was not sent", "")
    on_failure_text: bool = key(values.yes_no, "whether it is told the texts, too", False)
    files: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_pbx(self) -> bool:
        """Whether it sends by the SMS API of a PBX, be it by a line of curl."""
        return self.curl is None or self.curl.is_api

    @property
    def counted(self) -> dict[str, float]:
        """The limits that are counted on the outbox's history, and the seconds of each."""
        limits = {name: getattr(self, name) for name in ("per_number", "per_sender", "per_caller")}
        limits["repeat_window"] = (1, self.repeat_window)
        return {name: limit[1] for name, limit in limits.items() if limit and limit[1]}


SENDER = keys_of(Sender) | {
    "password_file": Key(values.secret_file, "where the password is", True, field="password")
}
"""The keys of a sender's section."""
SECRETS = ("password", "password_file", "token")
"""How a sender proves who it is: one of these."""
# The keys of a sender that is a gateway, in place of url and those.
CURL = ("curl", "success", "failed", "id", "list")
