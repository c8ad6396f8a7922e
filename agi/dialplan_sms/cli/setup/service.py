"""The service: what this host's unit says otherwise than ours, and its start."""

from collections.abc import Iterator
from pathlib import Path

from dialplan_sms import __version__
from dialplan_sms.agi.doors import SOCKET
from dialplan_sms.cli.setup.host import AsteriskHost, Host
from dialplan_sms.cli.setup.steps import Action, Failed, Step, StepState, Work, put_file, take_back
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.daemon import client
from dialplan_sms.host.installation import UNIT, make_run_folder, shared_file
from dialplan_sms.sms.outcome import safe_line

_HEAD = """\
# Written by dialplan-sms setup for this host; lines of your own go into another file.
[Service]"""


def put_unit(work: Work, found: AsteriskHost) -> Iterator[Step]:
    """The unit, unless the package has its own, and what is another in it on this host."""
    unit = work.host.places.units / UNIT
    own, lines = unit.with_name(f"{UNIT}.d") / "setup.conf", drop_in(found, work.host)
    if work.host.packaged:
        yield take_back(work, unit, "the package has its own", "service")
    else:
        yield put_file(work, unit, shared_file(UNIT).read_bytes(), "the unit", "service")
    if lines:
        content = "\n".join([_HEAD, *lines, ""]).encode()
        yield put_file(work, own, content, "this host's own", "service")
    else:
        yield take_back(work, own, "not needed", "service")


def drop_in(found: AsteriskHost, host: Host) -> list[str]:
    """The lines for ``dialplan-sms.service.d``; none if the unit is right as it is."""
    user, outbox, conf = found.user, found.spool / "sms", found.etc / "sms.conf"
    is_other = (user.name, user.group) != ("asterisk", "asterisk")
    places = [outbox, found.log]
    rows = (
        (is_other, f"User={_escaped(user.owner)}"),
        (is_other, f"Group={_escaped(user.group)}"),
        # As that user, who could have put a link there for root to follow.
        (is_other or found.spool != Path("/var/spool/asterisk"), "ExecStartPre=\n"
         f"ExecStartPre=-+/usr/bin/setpriv --reuid={user.uid} --regid={user.gids[0]}"
         f" --clear-groups /usr/bin/mkdir -p -m 0750 {_quoted(outbox)}"),
        (host.prefix != Path("/opt/dialplan-sms") and not host.packaged,
         f"ExecStart=\nExecStart={_quoted(host.prefix / 'bin/dialplan-sms')} serve"),
        (found.etc != Path("/etc/asterisk"), f'Environment="DIALPLAN_SMS_CONF={_inner(conf)}"'),
        (places != [Path("/var/spool/asterisk/sms"), Path("/var/log/asterisk")],
         "ReadWritePaths=" + " ".join(f'"-{_inner(place)}"' for place in places)),
        (any(str(each).startswith(("/home", "/root", "/run/user"))
             for each in (*places, conf, host.prefix)), "ProtectHome=read-only"),
    )  # fmt: skip
    return [line for differs, line in rows if differs]


def start_service(work: Work, found: AsteriskHost) -> Step:
    """The unit enabled, started, active, and of this version; or how to do without systemd."""
    run, target, about = work.host.run, "the service", ""
    asks = (["systemctl", ask, UNIT] for ask in ("is-active", "is-enabled"))
    if not found.systemd:
        about = "no systemd here: sms.agi does the whole job by itself"
        yield Action(target, StepState.NOTE, about)
        work.manifest.pending.discard("service")
        work.say(
            "no systemd here: to have the service, too, let your supervisor run as root"
            f" {make_run_folder(Path(SOCKET).parent, found.user)}, then as {found.user.name}"
            f" {work.host.prefix}/bin/dialplan-sms serve"
        )
        return
    if "service" in work.manifest.pending or any(run(ask, 20, None).status for ask in asks):
        about = f"systemctl enable and restart {UNIT}"
    elif (runs := _running_version(found.etc / "sms.conf")) not in (None, __version__):
        what = f"version {runs}" if runs else "an older version"
        about = f"systemctl restart {UNIT}: {what} runs, {__version__} is installed"
    if not about:
        yield Action(target, StepState.THERE, "enabled and active")
        return
    yield Action(target, StepState.RUN, about, ours=(Path("/") / UNIT, "service", UNIT))
    for words in (["daemon-reload"], ["enable", UNIT], ["restart", UNIT]):
        done = run(["systemctl", *words], 100, None)  # the unit's TimeoutStopSec is 40
        if done.status:
            raise Failed(
                f"systemctl {' '.join(words)} failed, {done.last_line}: see journalctl -u"
                " dialplan-sms -n 20; calls do without the service meanwhile"
            )
    work.manifest.pending.discard("service")
    work.say("the service runs")


def _running_version(conf: Path) -> str | None:
    """The version of the service that answers for *conf*, empty if it is too old; None if none."""
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
    return f'"{_inner(path)}"'.replace("$", "$$")
