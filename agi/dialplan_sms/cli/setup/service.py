"""The service: what this host's unit says otherwise than ours, and its start."""

from collections.abc import Iterator
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.agi.doors import SOCKET
from dialplan_sms.cli.setup.host import AsteriskHost, Host
from dialplan_sms.cli.setup.remove import take_back
from dialplan_sms.cli.setup.steps import Action, Failed, StepState, Work, put_file
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.daemon import client
from dialplan_sms.host.installation import UNIT, make_run_folder, shared_file
from dialplan_sms.sms.outcome import safe_line

_HOMES = ("/home", "/root", "/run/user")
_START = 100.0
"""Seconds that the service may take to stop and start (the unit's TimeoutStopSec is 40)."""


def put_unit(work: Work, found: AsteriskHost) -> Iterator[Action]:
    """The unit, unless the package has its own, and what is another in it on this host."""
    unit = work.host.places.units / UNIT
    own = unit.with_name(f"{UNIT}.d") / "setup.conf"
    if work.host.packaged:
        yield take_back(work, unit, "the package has its own", "service")
    else:
        yield put_file(work, unit, shared_file(UNIT).read_bytes(), "the unit", "service")
    if text := drop_in(found, work.host):
        yield put_file(work, own, text.encode(), "this host's own", "service")
    else:
        yield take_back(work, own, "not needed", "service")


def drop_in(found: AsteriskHost, host: Host) -> str:
    """The lines for ``dialplan-sms.service.d``; empty if the unit is right as it is."""
    lines, prefix = [], host.prefix
    if (found.user.name, found.user.group) != ("asterisk", "asterisk"):
        lines += [f"User={_escaped(found.user.owner)}", f"Group={_escaped(found.user.group)}"]
    outbox = found.spool / "sms"
    if lines or found.spool != Path("/var/spool/asterisk"):
        lines += [
            "ExecStartPre=",
            # As that user, who could have put a link there for root to follow.
            f"ExecStartPre=-+/usr/bin/setpriv --reuid={found.user.uid} --regid={found.user.gids[0]}"
            f" --clear-groups /usr/bin/mkdir -p -m 0750 {_quoted(outbox)}",
        ]
    if prefix != Path("/opt/dialplan-sms") and not host.packaged:
        lines += ["ExecStart=", f"ExecStart={_quoted(prefix / 'bin/dialplan-sms')} serve"]
    if found.etc != Path("/etc/asterisk"):
        lines.append(f'Environment="DIALPLAN_SMS_CONF={_inner(found.etc / "sms.conf")}"')
    places = [outbox, found.log]
    if places != [Path("/var/spool/asterisk/sms"), Path("/var/log/asterisk")]:
        lines.append("ReadWritePaths=" + " ".join(f'"-{_inner(place)}"' for place in places))
    if any(str(place).startswith(_HOMES) for place in (*places, found.etc, prefix)):
        lines.append("ProtectHome=read-only")
    if not lines:
        return ""
    head = (
        "# Written by dialplan-sms setup for this host; lines of your own go into another file.\n"
    )
    return head + "[Service]\n" + "".join(f"{line}\n" for line in lines)


def start_service(work: Work, found: AsteriskHost) -> Action:
    """The unit enabled, started, active, and of this version; or how to do without systemd."""
    run, target = work.host.run, "the service"

    def is_active() -> bool:
        asks = (["systemctl", ask, UNIT] for ask in ("is-active", "is-enabled"))
        return all(run(ask, 20, None).status == 0 for ask in asks)

    def start() -> str:
        for words in (["daemon-reload"], ["enable", UNIT], ["restart", UNIT]):
            done = run(["systemctl", *words], _START, None)
            if done.status:
                raise Failed(
                    f"systemctl {' '.join(words)} failed, {done.last_line}: see journalctl -u"
                    " dialplan-sms -n 20; calls do without the service meanwhile"
                )
        if not is_active():
            raise Failed("the service is not active: see journalctl -u dialplan-sms -n 20")
        return "the service runs"

    if not found.systemd:
        about = "no systemd here: sms.agi does the whole job by itself"
        said = (
            "no systemd here: to have the service, too, let your supervisor run as root"
            f" {make_run_folder(Path(SOCKET).parent, found.user)}, then as {found.user.name}"
            f" {work.host.prefix}/bin/dialplan-sms serve"
        )
        return Action(target, StepState.NOTE, about, reloads="service", says=said)
    about = ""
    if "service" in work.manifest.pending or not is_active():
        about = f"systemctl enable and restart {UNIT}"
    elif (runs := _running_version(found.etc / "sms.conf")) not in (None, __version__):
        what = f"version {runs}" if runs else "an older version"
        about = f"systemctl restart {UNIT}: {what} runs, {__version__} is installed"
    if not about:
        return Action(target, StepState.THERE, "enabled and active")
    ours = (Path("/") / UNIT, "service", UNIT)
    return Action(target, StepState.RUN, about, start, ours=ours, reloads="service")


def _running_version(conf: Path) -> str | None:
    """The version of the service that answers for *conf*; None if none does.

    Empty for one that is too old to say it.
    """
    try:
        figures = client.figures(smsconf.load(conf).monitor[0], patience=2)
    except (ConfigError, IndexError, OSError, client.NotOurs):
        return None
    return safe_line(str(figures.get("version", "")))[:40]


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _inner(path: Path) -> str:
    return _escaped(str(path)).replace("\\", "\\\\").replace('"', '\\"')


def _quoted(path: Path) -> str:
    """A word of a command."""
    return f'"{_inner(path)}"'.replace("$", "$$")
