"""What is pasted from Custom application fields."""

import re
from pathlib import Path

from dialplan_sms.cli.migrate.files import Problem, Tree, lines

_NO_FIELDS = {"", "Set(SMS_STATUS=)", "Set(SMS_SENDER=)"}
"""Not worth a field of their own; without a sender it is default_sender."""
PASTED = Path("pasted")
_OPTION = re.compile(r"(?i)CURLOPT\(\w+\)\s*=")
_STEP = re.compile(r"(?i)\s*(?:exten\s*=>?\s*[^,]*,|same\s*=>?\s*)\s*[^,]*,\s*")


def as_tree(text: str, etc: Path) -> Tree:
    """Each line of *text*, a step's beginning left off, as the steps of one extension."""
    tree = Tree(etc)
    apps = [_STEP.sub("", line, count=1).strip() for line in text.split("\n")]
    apps = [f"Set({app.rstrip('; ')})" if _OPTION.match(app) else app for app in apps]
    steps = "".join(f"exten => s,n,{app}\n" for app in apps)
    content = f"[pasted]\nexten => s,1,NoOp()\n{steps}".encode("utf-8", "surrogateescape")
    tree.contents[PASTED] = content
    tree.named[PASTED] = [(PASTED, 0)]
    tree.stream = list(lines(PASTED, content))
    return tree


def fields(content: bytes) -> list[str]:
    """The applications of the converted steps."""
    text = content.decode("utf-8", "surrogateescape")
    apps = [line.split(",", 2)[2] for line in text.split("\n") if line.startswith("exten")]
    return [app for app in apps[1:] if app not in _NO_FIELDS]


def place(problem: Problem) -> Problem:
    """The problem with the number that the line has in what was pasted."""
    return problem.moved(lambda _, number: max(0, number - 2))
