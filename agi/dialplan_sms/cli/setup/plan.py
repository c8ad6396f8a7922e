"""From what is there and what was answered to the steps, in their order. Decides, does nothing."""

from collections.abc import Mapping
from pathlib import Path

from dialplan_sms.cli.setup import unit
from dialplan_sms.cli.setup.answers import Answers
from dialplan_sms.cli.setup.folder_step import MakeFolder
from dialplan_sms.cli.setup.host import Places
from dialplan_sms.cli.setup.include import NAME
from dialplan_sms.cli.setup.program import Program
from dialplan_sms.cli.setup.program_step import PutProgram
from dialplan_sms.cli.setup.sender import PutSender
from dialplan_sms.cli.setup.steps import PutFile, PutInclude, PutLink, Step, TakeFile
from dialplan_sms.cli.setup.surroundings import UNIT, Surroundings
from dialplan_sms.cli.setup.telling import LoadDialplan, SeeOthers, StartService
from dialplan_sms.host.files import Ownership


def make(
    found: Surroundings,
    answers: Answers | None,
    places: Places,
    prefix: Path,
    program: Program | None,
    bundled: Mapping[str, bytes],
    rights: tuple[int, Ownership],
) -> list[Step]:
    """All steps. *program* is None where it runs from *prefix*; *rights* are those of a new file
    of the dialplan; *bundled* holds extensions-sms.conf and the unit by name."""
    root_and_asterisk = Ownership(0, found.gid)
    outbox = found.spool / "sms"
    packaged = prefix == places.package
    steps: list[Step] = [PutProgram(program, found.uid, found.gid)] if program else []
    steps.append(PutLink(found.agi_bin / "sms.agi", prefix / "bin/sms.agi", needed=True))
    if not packaged:
        link = PutLink(places.commands / "dialplan-sms", prefix / "bin/dialplan-sms", needed=False)
        steps.append(link)
    steps += [
        MakeFolder(outbox, 0o750, Ownership(found.uid, found.gid), "for the outbox"),
        PutSender(
            found.etc / "sms.conf", answers, outbox / "outbox.sqlite", root_and_asterisk,
            found.group,
        ),
        PutFile(found.etc / NAME, bundled[NAME], "[sub-sms]", pending="dialplan"),
        PutInclude(found.dialplan, found.included, *rights),
        SeeOthers(found.etc),
        LoadDialplan(found.console, found.runs, found.answers),
    ]  # fmt: skip
    if found.systemd:
        steps += _unit(found, places, prefix, packaged, bundled[UNIT])
    steps.append(StartService(found.systemd, prefix, found.user, found.etc / "sms.conf"))
    return steps


def _unit(
    found: Surroundings, places: Places, prefix: Path, packaged: bool, content: bytes
) -> list[Step]:
    steps: list[Step] = []
    if not packaged:
        steps.append(PutFile(places.units / UNIT, content, "the unit", pending="service"))
    path = places.units / f"{UNIT}.d/setup.conf"
    text = unit.drop_in(found, prefix, packaged)
    if text:
        steps.append(PutFile(path, text.encode(), "this host's own", pending="service"))
    else:
        steps.append(TakeFile(path, "not needed", pending="service"))
    return steps
