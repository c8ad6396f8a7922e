"""Lines that send already, and that what this run sets would mislead."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping

from dialplan_sms.cli.migrate.dialplan import Dialplan
from dialplan_sms.cli.migrate.files import Place, Problem

_SENDS = re.compile(r"\bsub-sms,|\bsms\.agi\b")
_OWN = "sub-sms"


def misled(
    dialplan: Dialplan, converted: Collection[Place], values: Mapping[str, str]
) -> list[Problem]:
    """A note on each step that sends without setting a variable of *values* itself.

    *values* are what those that the *converted* lines set are to be elsewhere. A variable stays
    for the rest of a call: one that goes through both would send as the other line's sender.
    """
    extensions: dict[tuple[str, str], str] = defaultdict(str)
    for step in dialplan.steps:
        extensions[step.key] += f"{step.app}\n"
    found = []
    for step in dialplan.steps:
        if step.context == _OWN or step.line.place in converted or not _SENDS.search(step.app):
            continue
        missing = [name for name in values if name not in extensions[step.key]]
        if missing:
            sets = " and ".join(f"Set({name}={values[name]})" for name in missing)
            reason = (
                f"sends, too, and would keep the {' and '.join(missing)} of a converted line that"
                f" the same call came through: put {sets} before it"
            )
            found.append(Problem(step.line.path, step.line.number, reason, note=True))
    return found
