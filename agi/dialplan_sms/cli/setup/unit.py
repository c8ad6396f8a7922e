"""What this host's unit says otherwise than ours: a drop-in, so that the unit stays as it is."""

from pathlib import Path

from dialplan_sms.cli.setup.surroundings import Surroundings

_PREFIX = Path("/opt/dialplan-sms")
_HOMES = ("/home", "/root", "/run/user")


def drop_in(found: Surroundings, prefix: Path, packaged: bool) -> str:
    """The lines for ``dialplan-sms.service.d``; empty where the unit fits as it is."""
    lines = []
    if (found.user, found.group) != ("asterisk", "asterisk"):
        lines += [f"User={_escaped(found.user)}", f"Group={_escaped(found.group)}"]
    outbox = found.spool / "sms"
    if lines or found.spool != Path("/var/spool/asterisk"):
        lines += [
            "ExecStartPre=",
            # As that user, who could have put a link there for root to follow.
            f"ExecStartPre=-+/usr/bin/setpriv --reuid={found.uid} --regid={found.gid}"
            f" --clear-groups /usr/bin/mkdir -p -m 0750 {_quoted(outbox)}",
        ]
    if prefix != _PREFIX and not packaged:
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


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _inner(path: Path) -> str:
    return _escaped(str(path)).replace("\\", "\\\\").replace('"', '\\"')


def _quoted(path: Path) -> str:
    """A word of a command."""
    return f'"{_inner(path)}"'.replace("$", "$$")
