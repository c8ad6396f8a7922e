"""sms.conf as frozen values: Config and its Senders."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dialplan_sms.config import keys
from dialplan_sms.config.parser import ConfigError, Section, Value, parse, read_private, version

if TYPE_CHECKING:
    from dialplan_sms.config.http import Http

GENERAL = "general"
HTTP = "http"
"""The section of the HTTP SMS server, which is no sender."""


@dataclass(frozen=True, slots=True)
class Sender:
    """A PBX user who sends SMS; the section's name is the user's.

    ``verify`` is ``yes``, ``no``, the absolute path of a CA file or ``sha256:`` and 64 hex digits.
    ``files`` are the versions of the files that it names: a new content makes another sender.
    Times are in seconds. A rate is how many SMS in how many seconds; ``allow`` and ``deny`` are
    countries (two letters) and prefixes (``+`` and digits).
    """

    name: str
    url: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    verify: str = "yes"
    gsm: str | None = None
    max_length: int = 670
    truncate: bool = False
    country: str | None = None
    short_numbers: bool = False
    mode: str = "wait"
    call_timeout: float = 30.0
    delivery: str = "at-least-once"
    postpone: str = "here"
    pace: float = 5.0
    batch: int = 20
    max_age: float = 24 * 3600.0
    keep_text: float = 0.0
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    per_number: tuple[int, float] | None = None
    per_sender: tuple[int, float] | None = None
    per_caller: tuple[int, float] | None = None
    repeat_window: float = 0.0
    files: tuple[str, ...] = field(default=(), repr=False)

    @property
    def counted(self) -> bool:
        """Whether a limit is set that is counted on the outbox's history."""
        return bool(self.per_number or self.per_sender or self.per_caller or self.repeat_window)


@dataclass(frozen=True, slots=True)
class Config:
    """All of one sms.conf. ``log`` is ``syslog`` or the path of a file.

    ``version`` tells it from another, the content of the files that it names included.

    ``outbox`` is a database's URL, empty for none; its history is kept for ``retention`` seconds.
    The rest is the service's: where it listens (numeric host, port), the ipaddress networks that
    it takes calls from besides loopback, how many calls it carries at once, and how many
    ``workers`` send what is stored.
    """

    path: Path
    senders: Mapping[str, Sender]
    default_sender: str | None
    log: str = "syslog"
    outbox: str = field(default="", repr=False)  # a database's URL can hold a password
    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 4573), ("::1", 4573))
    allow: tuple[Any, ...] = ()
    max_calls: int = 256
    monitor: tuple[tuple[str, int], ...] = (("127.0.0.1", 4574),)
    workers: int = 4
    retention: float = 90 * 86400.0
    http: "Http | None" = None
    version: str = field(default="", compare=False)

    def drop_privileges(self) -> None:
        """As root, become for good who can change this sms.conf, else who can change its outbox.

        Raises ConfigError if that is several users, or one that cannot read this program.
        """
        if os.geteuid() != 0:
            return
        from dialplan_sms.host import identity, privileges  # nothing for a call's script

        file = Path(self.outbox.removeprefix("sqlite:///").partition("?")[0])
        # SQLite believes a journal that lies beside its file.
        outbox = [file, file.parent] if self.outbox.startswith("sqlite:") else []
        try:
            privileges.drop_privileges(self.path, *outbox)
        except identity.HostError as error:
            raise ConfigError(str(error)) from None

    def sender(self, name: str) -> Sender | None:
        """The sender of that name; the default one where *name* is empty."""
        return self.senders.get(name or self.default_sender or "")


def find(path: str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where sms.conf is: *path*, $DIALPLAN_SMS_CONF, $AST_CONFIG_DIR, /etc/asterisk."""
    named = path or environ.get("DIALPLAN_SMS_CONF")
    if named:
        return Path(named)
    return Path(environ.get("AST_CONFIG_DIR") or "/etc/asterisk") / "sms.conf"


def load(path: Path, http: bool = False) -> Config:
    """The configuration in *path*, ``[http]`` only where *http* asks for it: no call needs it.

    Raises ConfigError with file, line, key and what is allowed.
    """
    before = version(path)  # it is read after: a change meanwhile must not pass for this
    sections = parse(read_private(path, "sms.conf"), path)
    files = [each for section in sections for each in keys.versions(section.values)]
    general = next((section for section in sections if section.name == GENERAL), None)
    common = general.values if general else {}
    _refuse_unknown(common, GENERAL, keys.GENERAL | keys.SENDER)
    own = {key: value for key, value in common.items() if key in keys.GENERAL}
    shared = {
        key: value
        for key, value in common.items()
        if key in keys.SENDER and key not in keys.GENERAL  # allow is the service's there
    }
    for section in sections:
        if section.name not in (GENERAL, HTTP) and section.name.lower() in (GENERAL, HTTP):
            raise ConfigError(f"{section.place}: write [{section.name.lower()}] in small letters")
    senders = {
        section.name: _read_sender(section, shared)
        for section in sections
        if section.name not in (GENERAL, HTTP)
    }
    if not senders:
        raise ConfigError(f"{path}: no sender: add a section named after the PBX user, as [101]")
    fields = keys.read(own, keys.GENERAL)
    for key in ("listen", "monitor"):
        if key in own and not ("allow" in own and key == "listen"):
            _check_loopback(key, own[key], fields[key])
    config = Config(
        path=path,
        senders=senders,
        default_sender=_default(fields.pop("default_sender", None), own, senders),
        http=_read_http(sections, senders, "outbox" in own) if http else None,
        version=" ".join([before, *files]),
        **fields,
    )
    for section in sections:
        if section.name in senders:
            _check_mode(senders[section.name], common | section.values, config)
            _check_counted(senders[section.name], common | section.values, config)
    return config


def _read_http(
    sections: Sequence[Section], senders: Mapping[str, Sender], outbox: bool
) -> "Http | None":
    section = next((each for each in sections if each.name == HTTP), None)
    if section is None:
        return None
    from dialplan_sms.config import http as httpconf  # not for those who have no such section

    _refuse_unknown(section.values, HTTP, httpconf.KNOWN)
    return httpconf.read_http(section, senders, outbox)


def _check_mode(sender: Sender, values: Mapping[str, Value], config: Config) -> None:
    """What is stored needs a place."""
    if sender.mode != "wait" and not config.outbox:
        raise ConfigError(
            f"{values['mode'].place}: mode = {sender.mode}: needs the outbox: set outbox in the"
            " general section"
        )


def _check_counted(sender: Sender, values: Mapping[str, Value], config: Config) -> None:
    """Limits that are counted need a history to count on, which goes back far enough."""
    for key in ("per_number", "per_sender", "per_caller", "repeat_window"):
        limit = getattr(sender, key)
        if not limit:
            continue
        if not config.outbox:
            raise ConfigError(
                f"{values[key].place}: {key}: is counted on the history of the outbox: set outbox"
                " in the general section"
            )
        if (limit[1] if isinstance(limit, tuple) else limit) > config.retention:
            raise ConfigError(
                f"{values[key].place}: {key}: its time is longer than the history is kept: raise"
                " retention in the general section"
            )


def _check_loopback(key: str, value: Value, addresses: tuple[tuple[str, int], ...]) -> None:
    for host, _ in addresses:
        if host != "::1" and not host.startswith("127."):
            rest = ", or add allow = and the networks" if key == "listen" else ""
            raise ConfigError(
                f"{value.place}: {key}: {host} is no loopback address, and the protocol knows"
                f" neither login nor encryption - allowed: 127.0.0.1 and ::1{rest}"
            )


def _default(
    name: str | None, own: Mapping[str, Value], senders: Mapping[str, Sender]
) -> str | None:
    if name is None:
        return next(iter(senders)) if len(senders) == 1 else None
    if name not in senders:
        raise ConfigError(
            f"{own['default_sender'].place}: default_sender: there is no section [{name}],"
            f" allowed: {', '.join(senders)}"
        )
    return name


def _read_sender(section: Section, shared: Mapping[str, Value]) -> Sender:
    _refuse_unknown(section.values, section.name, keys.SENDER)
    values = dict(shared)
    if any(key in section.values for key in keys.SECRETS):
        # A sender with a secret of its own leaves the one of [general], whichever form it has.
        values = {key: value for key, value in values.items() if key not in keys.SECRETS}
    values |= section.values
    secrets = [key for key in keys.SECRETS if key in values]
    if len(secrets) != 1:
        found = " and ".join(secrets) if secrets else "none"
        raise ConfigError(
            f"{section.place}: [{section.name}] needs one of password, password_file"
            f" and token, found: {found}"
        )
    if "url" not in values:
        raise ConfigError(
            f"{section.place}: [{section.name}] has no url: add url = https://<address of the PBX>"
        )
    if "password" in secrets or "password_file" in secrets:
        _check_user(section)
    files = keys.versions(values)
    return Sender(name=section.name, files=files, **keys.read(values, keys.SENDER))


def _check_user(section: Section) -> None:
    if ":" in section.name or not section.name.isprintable():
        raise ConfigError(
            f"{section.place}: the name of a PBX user holds no colon and no control character"
        )


def _refuse_unknown(values: Mapping[str, Value], section: str, known: Collection[str]) -> None:
    for key, value in values.items():
        if key in known:
            continue
        if key in keys.GENERAL and section != GENERAL:
            raise ConfigError(f"{value.place}: {key} belongs in [general], not in [{section}]")
        import difflib

        close = difflib.get_close_matches(key, known, 1)
        hint = f" - perhaps {close[0]}?" if close else ""
        raise ConfigError(
            f"{value.place}: {key}: unknown in [{section}]{hint} - allowed: {', '.join(known)}"
        )
