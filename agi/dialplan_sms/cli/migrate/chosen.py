"""Which files are looked at: those named, or Asterisk's own, and what they include."""

import os
from pathlib import Path

from dialplan_sms.cli.main import Misused
from dialplan_sms.cli.migrate import recipe, show
from dialplan_sms.cli.migrate.files import Problem, Tree

OTHER_LANGUAGES = {".ael": "AEL", ".lua": "Lua"}


def etc(files: tuple[Path, ...]) -> Path:
    """The folder that #include starts from."""
    named = Path(os.environ.get("AST_CONFIG_DIR") or "/etc/asterisk")
    first = files[0].absolute() if files else named / "extensions.conf"
    return named if first.is_relative_to(named) else first.parent


def refuse_unreadable(tree: Tree, files: tuple[Path, ...]) -> None:
    """A FILE that cannot be read is wrong usage; so is extensions.conf where it is all there is."""
    others = (tree.etc / f"extensions{suffix}" for suffix in OTHER_LANGUAGES)
    if not files and any(other.exists() for other in others):
        return
    for problem in tree.problems:
        if not problem.line:
            hint = "" if files else ": name the dialplan's file"
            raise Misused(show.Mask()(f"{problem}{hint}"))


def around(tree: Tree, whole: Path) -> Tree:
    """The tree of *whole* where it includes all of *tree*, for its [globals] and contexts."""
    if tree.problems or not tree.contents or not whole.is_file():
        return tree
    found = Tree(tree.etc)
    found.read(whole)
    if not tree.contents.keys() <= found.contents.keys():
        return tree
    found.problems = tree.problems
    return found


def other_language(file: Path) -> list[Problem]:
    language = OTHER_LANGUAGES[file.suffix.lower()]
    tree = Tree(file.parent)
    tree.read(file)
    problems = [each for each in tree.problems if not each.note]
    for line in tree.stream:
        if recipe.API.search(line.raw):
            reason = (
                f"{language} is not converted: set SMS_NUMBER and SMS_MESSAGE, call AGI(sms.agi)"
            )
            problems.append(Problem(line.path, line.number, reason))
    return problems
