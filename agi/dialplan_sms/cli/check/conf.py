"""sms.conf, the files that it names, and the log."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dialplan_sms.cli.check.finding import Finding
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import keys
from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError, parse, read_private
from dialplan_sms.host.identity import READ, RUN, WRITE, User, blocked

CONF = Finding("sms.conf")
LOG = Finding("log", (CONF.name,))
_CURES = (" - allowed: ", ": run ", ": create ", ": set ", ": add ", ": raise ", ": save ")
"""Where the cure begins in what a ConfigError says."""
_DEVLOG = Path("/dev/log")


def load(path: Path) -> Config | ConfigError:
    """The configuration, or why there is none."""
    try:
        return smsconf.load(path, http=True)
    except ConfigError as error:
        return error


def check(path: Path, config: Config | ConfigError, user: User) -> Finding:
    """Whether *user* can use sms.conf and what it names."""
    if os.path.exists(path) and (found := _private(path, user)):
        return found
    if isinstance(config, ConfigError):
        # The error names the usual group, and no && for SMS_REASON's sake: here they can be said.
        says = str(config).replace("chgrp asterisk ", f"chgrp {user.group} ")
        return CONF.wrong(*_split(says.replace(", then chmod", " && chmod")))
    for key, file in _named(path):
        if found := _private(file, user, f"{key}: "):
            return found
    several = len(config.senders) > 1
    default = f", default {config.default_sender}" if several and config.default_sender else ""
    return CONF.ok(f"{path}: sender{'s' * several} {', '.join(config.senders)}{default}")


def _private(path: Path, user: User, key: str = "") -> Finding | None:
    """What keeps *user* from a file that holds secrets."""
    bar = blocked(path, READ, user)
    if bar is None:
        return None
    do = f"chgrp {user.group} {path} && chmod 0640 {path}" if bar.path == path else bar.do
    return CONF.wrong(key + bar.says, do)


def _split(text: str) -> tuple[str, str]:
    """What is wrong, and what to do."""
    says, perhaps, rest = text.partition(" - perhaps ")
    if perhaps:
        return says, f"perhaps {rest.partition('?')[0]}? docs/sms.conf.md has every key"
    for words in _CURES:
        says, found, do = text.partition(words)
        if found:
            return says, f"{words.removeprefix(' - ').removeprefix(': ')}{do}"
    return text, "correct it; docs/sms.conf.md has every key of sms.conf"


def _named(path: Path) -> Iterator[tuple[str, Path]]:
    for section in parse(read_private(path, CONF.name), path):
        for key, file in keys.named(section.values, smsconf.known_keys(section.name)):
            yield f"{key} of [{section.name}]", file


def check_log(config: Config, user: User, devlog: Path = _DEVLOG) -> Finding:
    """Whether *user* can write the log."""
    if config.log == "syslog":
        if os.path.exists(devlog) and stat.S_ISSOCK(devlog.stat().st_mode):
            return LOG.ok("syslog, tag dialplan-sms")
        do = f"start one, or set log = /var/log/asterisk/sms.log in {CONF.name}"
        return LOG.warning(f"no syslog: there is no {devlog}", do)
    path = Path(config.log)
    if os.path.islink(path):
        do = f"log = {os.path.realpath(path)} in {CONF.name}"
        return LOG.wrong(f"{path} is a link, and none is followed", do)
    there = os.path.exists(path)
    bar = blocked(path, WRITE, user) if there else blocked(path.parent, WRITE | RUN, user)
    if bar is None:
        return LOG.ok(str(path))
    if bar.path not in (path, path.parent) or not os.path.isdir(path.parent):
        return LOG.wrong(bar.says, bar.do)
    make = "" if there else f"touch {path} && "
    return LOG.wrong(bar.says, f"{make}chown {user.owner}:{user.group} {path}")
