"""sms.conf, the files that it names, and the log."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dialplan_sms.cli.check.finding import Finding, ok, warning, wrong
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import keys
from dialplan_sms.config.config import Config
from dialplan_sms.config.parser import ConfigError, parse, read_private
from dialplan_sms.host.user import READ, RUN, WRITE, Blocked, User, blocked

CONF, LOG = "sms.conf", "log"
_CURES = (" - allowed: ", ": run ", ": create ", ": set ", ": add ", ": raise ", ": save ")
"""Where the cure begins in what a ConfigError says."""
_DEVLOG = Path("/dev/log")


def load(path: Path) -> tuple[Config | None, ConfigError | None]:
    """The configuration, or why there is none."""
    try:
        return smsconf.load(path, http=True), None
    except ConfigError as error:
        return None, error


def check(path: Path, config: Config | None, error: ConfigError | None, user: User) -> Finding:
    """Whether *user* can use sms.conf and what it names."""
    bar = blocked(path, READ, user) if os.path.exists(path) else None
    if bar:
        return wrong(CONF, bar.says, _private(bar, path, user))
    if config is None:
        mode = _mode(path)
        if mode is not None and mode & (stat.S_IROTH | stat.S_IWOTH):
            says = f"{path} is for everybody on this host ({mode:04o}), and it holds secrets"
            return wrong(CONF, says, f"chgrp {user.group} {path} && chmod 0640 {path}")
        # The error names the usual group, and no && for SMS_REASON's sake: here they can be said.
        says = str(error).replace("chgrp asterisk ", f"chgrp {user.group} ")
        return wrong(CONF, *_split(says.replace(", then chmod", " && chmod")))
    for key, file in _named(path):
        bar = blocked(file, READ, user)
        if bar:
            return wrong(CONF, f"{key}: {bar.says}", _private(bar, file, user))
    senders = ", ".join(config.senders)
    default = config.default_sender
    which = f", default {default}" if default and len(config.senders) > 1 else ""
    return ok(
        CONF, f"{path}: {'sender' if len(config.senders) == 1 else 'senders'} {senders}{which}"
    )


def _private(bar: Blocked, path: Path, user: User) -> str:
    return f"chgrp {user.group} {path} && chmod 0640 {path}" if bar.path == path else bar.do


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None


def _split(text: str) -> tuple[str, str]:
    """What is wrong, and what to do."""
    says, perhaps, rest = text.partition(" - perhaps ")
    if perhaps:
        return says, f"perhaps {rest.partition('?')[0]}? README has every key"
    for words in _CURES:
        says, found, do = text.partition(words)
        if found:
            word = found.strip(" -:")
            return says, f"{word}: {do}" if word == "allowed" else f"{word} {do}"
    return text, "correct it; README has every key of sms.conf"


def _named(path: Path) -> Iterator[tuple[str, Path]]:
    for section in parse(read_private(path, CONF), path):
        for key, file in keys.named(section.values, smsconf.known_keys(section.name)):
            yield f"{key} of [{section.name}]", file


def check_log(config: Config, user: User, devlog: Path = _DEVLOG) -> Finding:
    """Whether *user* can write the log."""
    if config.log == "syslog":
        try:
            there = stat.S_ISSOCK(devlog.stat().st_mode)
        except OSError:
            there = False
        if there:
            return ok(LOG, "syslog, tag dialplan-sms")
        do = f"start one, or set log = /var/log/asterisk/sms.log in {CONF}"
        return warning(LOG, f"no syslog: there is no {devlog}", do, needs=[CONF])
    path = Path(config.log)
    if os.path.islink(path):
        says = f"{path} is a link, and none is followed"
        return wrong(LOG, says, f"log = {os.path.realpath(path)} in {CONF}", needs=[CONF])
    if os.path.exists(path):
        bar = blocked(path, WRITE, user)
        do = f"chown {user.owner}:{user.group} {path}"
    else:
        bar = blocked(path.parent, WRITE | RUN, user)
        do = f"touch {path} && chown {user.owner}:{user.group} {path}"
    if bar is None:
        return ok(LOG, str(path))
    if bar.path not in (path, path.parent) or not os.path.isdir(path.parent):
        do = bar.do
    return wrong(LOG, bar.says, do, needs=[CONF])
