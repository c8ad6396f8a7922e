"""What is pasted from Custom application fields."""

import re
from pathlib import Path

from dialplan_sms.cli.migrate.files import Problem, Tree

PASTED = Path("pasted")
_NO_FIELDS = {"", "Set(SMS_STATUS=)", "Set(SMS_SENDER=)"}
"""Not worth a field of their own; without a sender it is default_sender."""
_OPTION = re.compile(r"(?i)CURLOPT\(\w+\)\s*=")
_STEP = re.compile(r"(?i)\s*(?:exten\s*=>?\s*[^,]*,|same\s*=>?\s*)\s*[^,]*,\s*")
_SEMICOLON = re.compile(r"(?<!\\);")


def as_tree(text: str) -> Tree:
    """Each line of *text*, a step's beginning left off, as the steps of one extension.

    A semicolon of a field is part of its text, where one of a file would begin a comment.
    """
    tree = Tree(Path("/"))
    content = "[pasted]\nexten => s,1,NoOp()\n"
    for line in text.split("\n"):
        app, of_a_file = _STEP.subn("", line, count=1)
        app = app.strip() if of_a_file else _SEMICOLON.sub(r"\\;", app.strip("; \t\r"))
        content += f"exten => s,n,{f'Set({app})' if _OPTION.match(app) else app}\n"
    tree.add(PASTED, content.encode("utf-8", "surrogateescape"))
    return tree


def fields(content: bytes) -> list[str]:
    """The applications of the converted steps."""
    text = content.decode("utf-8", "surrogateescape")
    apps = [line.split(",", 2)[2] for line in text.split("\n") if line.startswith("exten")]
    return [app for app in apps[1:] if app not in _NO_FIELDS]


def place(problem: Problem) -> Problem:
    """The problem with the number that the line has in what was pasted."""
    return problem.moved(lambda _, number: max(0, number - 2))
