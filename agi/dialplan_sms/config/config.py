"""sms.conf as frozen values: Config and its Senders."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dialplan_sms.config import keys, parser, values
from dialplan_sms.config.keys import HostPort, key
from dialplan_sms.config.keys import Sender as Sender
from dialplan_sms.config.parser import ConfigError, Place, Section, Value, refuse
from dialplan_sms.config.values import Kind

if TYPE_CHECKING:
    from dialplan_sms.config.http import Http

GENERAL, HTTP = "general", "http"
"""Sections that are no senders: what is common to all, and the HTTP SMS server."""
_OPEN = ", and the protocol knows neither login nor encryption"


@dataclass(frozen=True, slots=True)
class Config:
    """All of one sms.conf. ``log`` is ``syslog`` or the path of a file.

    ``version`` tells it from another, the content of the files that it names included. ``outbox``
    is a database's URL, empty for none; its history is kept for ``retention`` seconds. The rest is
    the service's: where it listens (numeric host, port), the ipaddress networks that it takes calls
    from besides loopback, the calls at once, and the ``workers`` that send what is stored.
    """

    path: Path
    senders: Mapping[str, Sender]
    default_sender: str | None = key(
        keys.SECTION, "who sends, if a call names no sender and there are several", None
    )
    log: str = key(values.log, "where the log goes", "syslog")
    # A database's URL can hold a password.
    outbox: str = key(
        values.outbox, "the database of stored SMS and of the history", "", secret=True
    )
    listen: tuple[HostPort, ...] = key(
        values.listen,
        "where the service takes FastAGI calls",
        (("127.0.0.1", 4573), ("::1", 4573)),
        local=(_OPEN, ", or add allow = and the networks"),
    )
    allow: tuple[Any, ...] = key(values.networks, "who may call the service besides this host", ())
    max_calls: int = key(
        keys.number("calls at once", 1, 4096), "how many calls the service carries at once", 256
    )
    monitor: tuple[HostPort, ...] = key(
        Kind(values.listen.read, "an address with a port, as 127.0.0.1:4574"),
        "where the service answers status, /metrics and /healthz",
        (("127.0.0.1", 4574),),
        local=(_OPEN, ""),
    )
    workers: int = key(
        keys.number("threads that send stored SMS", 0, 64), "how many threads send stored SMS", 4
    )
    retention: float = key(values.duration, "how long the history is kept", 90 * 86400.0)
    http: "Http | None" = None
    version: str = field(default="", compare=False)

    def drop_privileges(self) -> None:
        """As root, become for good who can change this file or its outbox. Raises ConfigError."""
        if os.geteuid() == 0:
            from dialplan_sms.host import process  # nothing for a call's script

            file = Path(self.outbox.removeprefix("sqlite:///").partition("?")[0])
            # SQLite believes a journal that lies beside its file, links followed.
            beside = [file, Path(os.path.realpath(file)).parent]
            process.drop_privileges(
                self.path, *(beside if self.outbox.startswith("sqlite:") else ())
            )

    def sender(self, name: str) -> Sender | None:
        """The sender of that name; the default one if *name* is empty."""
        return self.senders.get(name or self.default_sender or "")

    def relief(self, name: str) -> str:
        """What there is to add if it is said that all SMS of the sender *name* wait."""
        backup = name in self.senders and self.senders[name].backup
        return f"; what is overdue goes by {backup}" if backup else ""


def find(path: str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where sms.conf is: *path*, $DIALPLAN_SMS_CONF, $AST_CONFIG_DIR, /etc/asterisk."""
    usual = Path(environ.get("AST_CONFIG_DIR") or "/etc/asterisk", "sms.conf")
    return Path(path or environ.get("DIALPLAN_SMS_CONF") or usual)


GENERAL_KEYS = keys.keys_of(Config)
"""The keys of ``[general]`` that are no defaults of its senders."""


def load(path: Path, http: bool = False) -> Config:
    """The Config in *path*, ``[http]`` only with *http*: no call needs it. Raises ConfigError."""
    before = parser.version(path)  # it is read after: a change meanwhile must not pass for this
    sections = parser.parse(parser.read_private(path, "sms.conf"), path)
    server = sections.pop(HTTP, None)
    for section in sections.values():
        _refuse_unknown(section, known_keys(section.name))
    common = sections.pop(GENERAL, Section(GENERAL, Place(path, 0), {})).values
    senders = {n: _read_sender(section, common, sections) for n, section in sections.items()}
    refuse(not senders, f"{path}: no sender: add a section named after the PBX user, as [101]")
    only = next(iter(senders)) if len(senders) == 1 else None
    fields = {"default_sender": only} | keys.read(common, GENERAL_KEYS, senders)
    if http and server:
        from dialplan_sms.config.http import read_http  # not for those who have no such section

        _refuse_unknown(server, known_keys(HTTP))
        fields["http"] = read_http(server, senders, "outbox" in common)
    parts = (*senders.values(), fields.get("http"))
    files = [file for part in parts if part for file in part.files]
    config = Config(path, senders, version=" ".join([before, *files]), **fields)
    for name, section in sections.items():
        _check_outbox(senders[name], common | section.values, config)
        _check_backup(name, senders, common | section.values)
    return config


def _check_backup(name: str, senders: Mapping[str, Sender], given: Mapping[str, Value]) -> None:
    """No sender is its own backup, nor the backup of its backup, and so on."""
    way = [name, senders[name].backup]
    while way[-1] not in ("", *way[:-1]):
        way.append(senders[way[-1]].backup)
    if way[-1] == name:
        raise ConfigError(
            f"{given['backup'].place}: backup = {way[1]}: a circle, {' > '.join(way)} - allowed: a"
            " sender whose own backup does not lead back to this one"
        )


def _check_outbox(sender: Sender, given: Mapping[str, Value], config: Config) -> None:
    """What is stored needs a place, and a limit a history that goes back far enough."""
    if sender.mode != "wait" and not config.outbox:
        where = f"{given['mode'].place}: mode = {sender.mode}"
        raise ConfigError(f"{where}: needs the outbox: set outbox in the general section")
    if sender.on_failure and not config.outbox:
        raise ConfigError(
            f"{given['on_failure'].place}: on_failure: needs the outbox: set outbox in the general"
            " section"
        )
    for name, seconds in sender.counted.items():
        where = f"{given[name].place}: {name}"
        refuse(
            not config.outbox,
            f"{where}: is counted on the history of the outbox: set outbox in the general section",
        )
        refuse(
            seconds > config.retention,
            f"{where}: its time is longer than the history is kept: raise retention in the general"
            " section",
        )


def _read_sender(section: Section, common: Mapping[str, Value], senders: Collection[str]) -> Sender:
    where, own = f"{section.place}: [{section.name}]", section.values
    way = own if "url" in own or "curl" in own else common
    is_curl = "curl" in way
    others = ("url", *keys.SECRETS) if is_curl else keys.CURL
    clash = [name for name in others if name in own or (name in ("url", "curl") and name in way)]
    refuse(
        clash,
        f"{where} has {' and '.join(clash)} beside {'curl' if is_curl else 'url'}: url, with its"
        f" password or token, and curl, with {', '.join(keys.CURL[1:])}, are two ways, leave one",
    )
    # A sender with a secret of its own leaves the one of [general], whichever form it has.
    its = own if any(name in own for name in keys.SECRETS) else common
    secrets = [name for name in keys.SECRETS if name in its]
    left = {*GENERAL_KEYS, *keys.SECRETS, *others} - ({*secrets} - {*others})
    given = {
        name: value for name, value in common.items()
        # The backup of all others is not its own.
        if name not in left and (name, value.text) != ("backup", section.name)
    } | own  # fmt: skip
    if not is_curl:
        refuse(
            len(secrets) != 1,
            f"{where} needs one of password, password_file and token,"
            f" found: {' and '.join(secrets) or 'none'}",
        )
        refuse(
            "url" not in given,
            f"{where} has no url: add url = https://<address of the PBX>, or curl = for another"
            " gateway",
        )
        refuse(
            secrets != ["token"] and (":" in section.name or not section.name.isprintable()),
            f"{section.place}: the name of a PBX user holds no colon and no control character",
        )
    fields, files = keys.read(given, keys.SENDER, senders), keys.versions(given, keys.SENDER)
    if is_curl:
        from dialplan_sms.config import curl  # not for those who have no such sender

        fields = curl.complete(fields, own, where)
        files += (parser.version(Path("/", fields.get("verify", "no"))),)
    return Sender(section.name, files=files, **fields)


def known_keys(section: str) -> Mapping[str, keys.Key]:
    """The keys that a section of that name may have."""
    if section == HTTP:
        from dialplan_sms.config.http import KEYS

        return KEYS
    return GENERAL_KEYS | keys.SENDER if section == GENERAL else keys.SENDER


def _refuse_unknown(section: Section, known: Mapping[str, keys.Key]) -> None:
    small = section.name.lower()
    is_capital = small in (GENERAL, HTTP) and small != section.name
    refuse(is_capital, f"{section.place}: write [{small}] in small letters")
    for name in (name for name in section.values if name not in known):
        where = f"{section.values[name].place}: {name}"
        refuse(name in GENERAL_KEYS, f"{where} belongs in [general], not in [{section.name}]")
        import difflib

        hint = "".join(f" - perhaps {each}?" for each in difflib.get_close_matches(name, known, 1))
        raise ConfigError(
            f"{where}: unknown in [{section.name}]{hint} - allowed: {', '.join(known)}"
        )
