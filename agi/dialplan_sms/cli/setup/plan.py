"""From what is there and what was answered to the steps of setup, in their order."""

from pathlib import Path

from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.dialplan import find_includes, load_dialplan, put_include, report_merged
from dialplan_sms.cli.setup.find_asterisk import AsteriskHost
from dialplan_sms.cli.setup.manifest import Manifest
from dialplan_sms.cli.setup.places import Host
from dialplan_sms.cli.setup.remove import drop_copy, take_back
from dialplan_sms.cli.setup.service import drop_in, start_service
from dialplan_sms.cli.setup.sms_conf import put_sender
from dialplan_sms.cli.setup.steps import (
    Action,
    Step,
    StepState,
    Work,
    make_folder,
    put_file,
    put_link,
)
from dialplan_sms.host import files
from dialplan_sms.host.files import Ownership
from dialplan_sms.host.identity import RUN, HostError, blocked, changer
from dialplan_sms.host.installation import (
    EXTENSIONS,
    UNIT,
    another_python,
    first_line,
    shared_file,
    write_script,
)

_IMPORTS = "import dialplan_sms.cli.main, dialplan_sms.agi.script"


def refuse_program(host: Host, found: AsteriskHost) -> None:
    """Raise HostError if Asterisk's user cannot run this program, or another user can change it."""
    prefix, package = host.prefix, host.places.package
    if (package / "bin/sms.agi").exists() and not host.packaged:
        raise HostError(
            f"the package has the program in {package}: run /usr/bin/dialplan-sms setup"
        )
    script, python = prefix / "bin/sms.agi", prefix / "bin/python3"
    again = another_python(prefix, "/usr/bin/python3")
    first_line(python)
    if not script.is_file():
        raise HostError(f"there is no {script}: {again}")
    if user := changer(script) or changer(python):
        raise HostError(
            f"{user} can change the program in {prefix}, and root would run it: {again}"
        )
    ran = host.ask_program(found.user, ["-c", _IMPORTS], 60) if host.is_root else None
    if ran is not None and ran.status:
        bar = blocked(python, RUN, found.user)
        why = bar.says if bar else ran.last_line
        raise HostError(f"{found.user.name} cannot run the program in {prefix}, {why}: {again}")


def steps(
    found: AsteriskHost, answers: Answers | None, host: Host, manifest: Manifest
) -> list[Step]:
    """All steps."""
    prefix, places = host.prefix, host.places
    outbox = found.spool / "sms"
    command = places.commands / "dialplan-sms"
    extensions = shared_file(EXTENSIONS).read_bytes()
    sms_conf = found.etc / "sms.conf"
    user = found.user
    root_and_asterisk = Ownership(0, user.gids[0])
    copies = {path for path, _ in manifest.of("program")} | {places.prefix}
    return [
        put_first_line(prefix),
        put_link(found.agi_bin / "sms.agi", prefix / "bin/sms.agi"),
        take_back(command, "the package has its own") if host.packaged
        else put_link(command, prefix / "bin/dialplan-sms", needed=False),
        make_folder(outbox, 0o750, user, "for the outbox"),
        put_sender(sms_conf, answers, outbox / "outbox.sqlite", root_and_asterisk, user.group),
        put_file(found.etc / EXTENSIONS, extensions, "[sub-sms]", "dialplan"),
        put_include(found.dialplan, [*find_includes(found.etc)], *_rights(found)),
        report_merged(found.etc),
        load_dialplan(found),
        *(_unit(found, host) if found.systemd else ()),
        start_service(found, prefix),
        *(drop_copy(path, found, prefix) for path in sorted(copies - {prefix})),
    ]  # fmt: skip


def put_first_line(prefix: Path) -> Step:
    """The first line of sms.agi, which pip writes without its options."""
    script, python = prefix / "bin/sms.agi", prefix / "bin/python3"

    def look(work: Work) -> Action:
        def write() -> None:
            write_script(script, script, python)

        with script.open("rb") as file:
            if file.readline() == first_line(python).encode():
                return Action(script, None)
        return Action(
            script, StepState.CHANGE, f"its first line: {first_line(python).strip()}", write
        )

    return look


def _unit(found: AsteriskHost, host: Host) -> list[Step]:
    unit = host.places.units / UNIT
    own = host.places.units / f"{UNIT}.d/setup.conf"
    text = drop_in(found, host.prefix, host.packaged)
    return [
        take_back(unit, "the package has its own", "service") if host.packaged
        else put_file(unit, shared_file(UNIT).read_bytes(), "the unit", "service"),
        put_file(own, text.encode(), "this host's own", "service") if text
        else take_back(own, "not needed", "service"),
    ]  # fmt: skip


def _rights(found: AsteriskHost) -> tuple[int, Ownership]:
    """Those of a new file of the dialplan: as the file beside it."""
    for path in (found.etc / "extensions.conf", found.etc / found.conf.name):
        if path.is_file() and (there := files.look(path)):
            return there.mode & 0o664, there.owner
    return 0o640, Ownership(0, found.user.gids[0])
