"""sms.conf, the files that it names, and the log."""

import os
import re
from contextlib import suppress
from pathlib import Path

from dialplan_sms.cli.check import Finding
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import keys
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.countries import CALLING_CODE
from dialplan_sms.config.parser import ConfigError, parse, read_private
from dialplan_sms.host import files
from dialplan_sms.host.asterisk_syntax import lines
from dialplan_sms.host.identity import (
    EVERYBODY,
    READ,
    RUN,
    WRITE,
    HostError,
    User,
    by_id,
    changers,
)

CONF = Finding("sms.conf")
LOG = Finding("log", (CONF.name,))
_CURE = re.compile(r" - (?=allowed: )|: (?=(?:run|create|set|add|raise|save) )")
"""What stands before the cure in what a ConfigError says."""


def check(path: Path, user: User) -> tuple[Finding, Config | None]:
    """Whether *user* can use sms.conf and what it names, and the configuration if there is one."""
    try:
        config = smsconf.load(path, http=True)
    except ConfigError as error:
        # It names the usual group, and no && for SMS_REASON's sake: here they can be said.
        says = str(error).replace("chgrp asterisk ", f"chgrp {user.group} ")
        wrong = CONF.wrong(*_split(says.replace(", then chmod", " && chmod")))
        return _if_private(path, user) or wrong, None
    several = len(config.senders) > 1
    names = [
        f"{s.name} (backup {s.backup})" if s.backup else s.name for s in config.senders.values()
    ]
    default = f", default {config.default_sender}" if several and config.default_sender else ""
    found = (
        _if_private(path, user),
        *(_if_program(each, user) for each in config.senders.values() if each.on_failure),
        *(
            _if_private(file, user, f"{key} of [{section.name}]: ")
            for section in parse(read_private(path, CONF.name), path).values()
            for key, file in keys.named(section.values, smsconf.known_keys(section.name))
        ),
        *map(_if_abroad, config.senders.values()),
        *(_if_no_help(each, config.senders.get(each.backup)) for each in config.senders.values()),
        CONF.ok(f"{path}: sender{'s' * several} {', '.join(names)}{default}"),
    )
    return next(filter(None, found)), config


def _if_private(path: Path, user: User, key: str = "") -> Finding | None:
    return CONF.if_blocked(path, READ, user, f"chgrp {user.group} {path} && chmod 0640 {path}", key)


def _if_program(sender: Sender, user: User) -> Finding | None:
    """What keeps *user* from running ``on_failure``, or who else can change what it runs."""
    path, key = Path(sender.on_failure), f"on_failure of [{sender.name}]: "
    other = next((each for each in changers(path).items() if each[0] != user.uid), None)
    return (
        CONF.if_blocked(path, RUN, user, f"chmod o+rx {path}", key, missing=True)
        or (not path.is_file() and CONF.wrong(f"{key}{path} is not a file", "name a program"))
        or (_cannot_start(path) and CONF.wrong(
            f"{key}{path} cannot be started: it has no line with #!",
            f"begin {path} with a line such as #!/bin/sh"))
        or (other and CONF.wrong(
            f"{key}{'everybody' if other[0] == EVERYBODY else by_id(other[0]).name} can change"
            f" {other[1]}, and so what {user.name} runs",
            f"chown root {other[1]} && chmod go-w {other[1]}"))
        or None
    )  # fmt: skip


def _cannot_start(path: Path) -> bool:
    """Whether it is surely none of what the kernel starts: a script, a compiled program."""
    with suppress(HostError, OSError):
        return not (files.content_of(path) or b"").startswith((b"#!", b"\x7fELF"))
    return False


def _if_abroad(sender: Sender) -> Finding | None:
    """What there is to say if ``allow`` lacks the country of which national numbers are."""
    country, allow = sender.country or "", sender.allow
    code = f"+{CALLING_CODE.get(country)}"
    # A prefix may be of some of its numbers, or of those of more countries.
    inside = (each == country or each.startswith(code) or code.startswith(each) for each in allow)
    return CONF.warning(
        f"allow of [{sender.name}] leaves out its country: all numbers of {country} are refused",
        f"add {country} to allow in [{sender.name}], or set another country there",
    ) if country and allow and not any(inside) else None  # fmt: skip


def _if_no_help(sender: Sender, backup: Sender | None) -> Finding | None:
    """What there is to say of a *backup* that fails when it is needed."""
    pair = backup and f"[{backup.name}], the backup of [{sender.name}],"
    return (backup and backup.url == sender.url and CONF.warning(
        f"{pair} is at the same PBX: it is away when that is",
        f"backup = a sender at another PBX, in [{sender.name}]",
    )) or (backup and backup.long_message == "refuse" and backup.max_length < sender.max_length
           and CONF.warning(
        f"{pair} refuses a text of more than {backup.max_length} characters, which that sends",
        f"long_message = truncate in [{backup.name}]",
    )) or None  # fmt: skip


def in_password(path: Path, password: str) -> str:
    """What to do if *password* is hardly what was meant in the sms.conf at *path*; or empty."""
    if password[:1] in ("'", '"') and password[:1] == password[-1:]:
        return "write the password without its quotes, which are part of it"
    with suppress(ConfigError):
        for line in lines(read_private(path, CONF.name)):
            cut = line.content != line.raw and line.content == line.content.rstrip()
            if cut and line.pair and line.pair[1] == password:
                return "write \\; for ; in the password, which ends there"
    return ""


def _split(text: str) -> tuple[str, str]:
    says, perhaps, rest = text.partition(" - perhaps ")
    if perhaps:
        return says, f"perhaps {rest.partition('?')[0]}? docs/sms.conf.md has every key"
    says, *cure = _CURE.split(text, maxsplit=1)
    return says, "".join(cure) or "correct it; docs/sms.conf.md has every key of sms.conf"


def check_log(config: Config, user: User, devlog: Path = Path("/dev/log")) -> Finding:
    """Whether *user* can write the log."""
    path, own = Path(config.log), f"chown {user.owner}:{user.group} {config.log}"
    if config.log == "syslog":
        return (devlog.is_socket() and LOG.ok("syslog, tag dialplan-sms")) or LOG.warning(
            f"no syslog: there is no {devlog}",
            f"start one, or set log = /var/log/asterisk/sms.log in {CONF.name}",
        )
    return (
        (os.path.islink(path) and LOG.wrong(
            f"{path} is a link, and none is followed",
            f"log = {os.path.realpath(path)} in {CONF.name}"))
        or LOG.if_blocked(path, WRITE, user, own)
        or (not os.path.exists(path) and LOG.if_blocked(
            path.parent, WRITE | RUN, user, f"touch {path} && {own}", missing=True))
        or LOG.ok(str(path))
    )  # fmt: skip
