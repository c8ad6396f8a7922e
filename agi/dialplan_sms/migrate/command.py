"""``dialplan-sms migrate``: the command."""

import fnmatch
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from dialplan_sms import config as smsconf
from dialplan_sms.cli import config_option
from dialplan_sms.conffile import ConfigError
from dialplan_sms.migrate import (
    advice,
    dialplan,
    find,
    pasted,
    plan,
    recipe,
    senders,
    show,
    write,
)  # fmt: skip
from dialplan_sms.migrate.expression import resolve
from dialplan_sms.migrate.files import Problem, Tree, lines
from dialplan_sms.outboxoptions import Misused

_LONGEST = 9000
"""Characters of a line that are shown; Asterisk reads no longer ones."""
_OTHER_LANGUAGES = {".ael": "AEL", ".lua": "Lua"}


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@config_option
@click.option("--text", "texts", multiple=True, help="A line pasted from a Custom application.")
@click.option("--write", "writing", is_flag=True, help="Write the files; each keeps a backup.")
def migrate(
    files: tuple[Path, ...], config: Path | None, texts: tuple[str, ...], writing: bool
) -> None:
    """Convert the CURL() recipe in FILE and what it includes.

    Only shows a diff, and changes nothing, unless --write is given. FILE is extensions.conf in
    Asterisk's folder by default, and - reads lines of Custom applications from standard input.
    User and password move to sms.conf.

    Exit status: 0 all converted or nothing to convert, 1 something is left, 2 wrong usage.
    """
    path = smsconf.find(str(config) if config else None)
    try:
        known = senders.read(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if Path("-") in files or texts:
        if len(files) > (Path("-") in files):
            raise click.UsageError("files and pasted lines do not go together")
        text = "\n".join(texts) if texts else _standard_input()
        problems = _pasted(text, known, writing)
    else:
        problems = _files(files, known, writing)
    if any(not problem.note for problem in problems):
        raise SystemExit(1)


def _standard_input() -> str:
    if sys.stdin is None:
        raise click.ClickException("standard input is closed")
    return sys.stdin.buffer.read(1 << 20).decode("utf-8", "surrogateescape")


def _etc(files: tuple[Path, ...]) -> Path:
    """The folder that #include starts from."""
    named = Path(os.environ.get("AST_CONFIG_DIR") or "/etc/asterisk")
    first = files[0].absolute() if files else named / "extensions.conf"
    return named if first.is_relative_to(named) else first.parent


def _files(files: tuple[Path, ...], known: senders.Senders, writing: bool) -> list[Problem]:
    etc = _etc(files)
    tree, problems = Tree(etc), []
    chosen = files or (etc / "extensions.conf",)
    for file in chosen:
        if file.suffix.lower() not in _OTHER_LANGUAGES:
            tree.read(file)
    _refuse_unreadable(tree, files)
    changeable = set(tree.contents)
    for file in files or tuple(etc / f"extensions{suffix}" for suffix in _OTHER_LANGUAGES):
        if file.suffix.lower() in _OTHER_LANGUAGES and (files or file.exists()):
            problems += _other_language(file)
    tree = _around(tree, etc / "extensions.conf")
    found = dialplan.read(tree)
    finder = find.Finder(tree, found, known, changeable)
    planner = plan.Planner(found, finder, changeable)
    made = planner.make()
    problems = [*tree.problems, *problems, *made.problems, *plan.mentions(found, changeable)]
    mask = _mask(known, finder)
    new = {path: made.content(path, tree.contents[path]) for path in sorted(changeable)}
    changes = {path: content for path, content in new.items() if content != tree.contents[path]}
    for path in changes:
        old = [line.raw for line in lines(path, tree.contents[path])]
        _show(show.diff(str(path), old, made.edits(path, old)), mask)
    _show_conf(known, mask)
    blocked = False
    for pattern in tree.globs:
        for path in changes:
            if fnmatch.fnmatch(write.backup_names(path), pattern):
                problems.append(
                    Problem(path, 0, f"its backup would be included by {pattern}: make that *.conf")
                )
                writing, blocked = False, True
    _tell(problems)
    click.echo(advice.counts(made.converted, problems), err=True)
    gosub = planner.call == plan.GOSUB
    if writing:
        backups = _write(known, changes, tree)
        _say_next(advice.after_writing(backups, gosub) if backups else ())
    elif changes and not blocked:
        click.echo("Nothing is written yet.", err=True)
        _say_next(advice.before_writing(known, changes, gosub))
    return problems


def _refuse_unreadable(tree: Tree, files: tuple[Path, ...]) -> None:
    """A FILE that cannot be read is wrong usage; so is extensions.conf where it is all there is."""
    others = (tree.etc / f"extensions{suffix}" for suffix in _OTHER_LANGUAGES)
    if not files and any(other.exists() for other in others):
        return
    for problem in tree.problems:
        if not problem.line:
            hint = "" if files else ": name the dialplan's file"
            raise Misused(show.Mask()(f"{problem}{hint}"))


def _say_next(steps: Iterable[str]) -> None:
    steps = list(steps)
    for line in advice.numbered(steps) if steps else ():
        click.echo(line, err=True)


def _around(tree: Tree, whole: Path) -> Tree:
    """The tree of *whole* where it includes all of *tree*, for its [globals] and contexts."""
    if tree.problems or not tree.contents or not whole.is_file():
        return tree
    around = Tree(tree.etc)
    around.read(whole)
    if not tree.contents.keys() <= around.contents.keys():
        return tree
    around.problems = tree.problems
    return around


def _write(known: senders.Senders, changes: dict[Path, bytes], tree: Tree) -> list[Path]:
    """Write sms.conf and *changes*; the backups of these."""
    backups = []
    try:
        if known.after is not None:
            write.add(known.path, known.after, known.text, next(iter(changes), None))
            click.echo(f"{known.path}: written", err=True)
        for path, content in changes.items():
            backup = write.replace(path, tree.contents[path], content)
            backups.append(backup)
            click.echo(f"{path}: written, backup {backup}", err=True)
    except write.CannotWrite as error:
        raise click.ClickException(str(error)) from None
    return backups


def _pasted(text: str, known: senders.Senders, writing: bool) -> list[Problem]:
    tree = pasted.as_tree(text, Path("/"))
    found = dialplan.read(tree)
    finder = find.Finder(tree, found, known, {pasted.PASTED}, anonymous=True)
    made = plan.Planner(found, finder, {pasted.PASTED}).make()
    problems = [
        pasted.place(each) for each in (*made.problems, *plan.mentions(found, {pasted.PASTED}))
    ]
    mask = _mask(known, finder)
    content = made.content(pasted.PASTED, tree.contents[pasted.PASTED])
    fields = pasted.fields(content) if made.converted else []
    for field in fields:
        click.echo(mask(field) if "CURL" in field.upper() else field)
    _show_conf(known, mask)
    _tell(problems)
    if writing:
        _write(known, {}, tree)
    anonymous = any(
        found.request and not found.reason and not found.user for found in finder.recipes
    )
    if fields:
        _say_next(advice.for_fields(len(fields), known, writing, anonymous))
    if not made.converted and not problems:
        click.echo("No use of the SMS API.", err=True)
    return problems


def _show_conf(known: senders.Senders, mask: show.Mask) -> None:
    after = known.after
    if after is None:
        return
    if not known.text:
        _show(["--- /dev/null", f"+++ {known.path}"], mask)
        _show((f"+{line}" for line in after.splitlines()), mask)
        return
    old = known.text.splitlines()
    changed = show.changed_lines(old, after.splitlines())
    _show(show.diff(str(known.path), old, changed), mask)


def _show(diff: Iterable[str], mask: show.Mask) -> None:
    for line in diff:
        click.echo(f"{line[:1]}{mask(line[1:_LONGEST])}")


def _mask(known: senders.Senders, finder: find.Finder) -> show.Mask:
    secrets = [sender.password for sender in (*known.new.values(), *known.there.values())]
    secrets += [found.request.password for found in finder.recipes if found.request]
    for option in finder.options:
        if option.name == "userpwd":
            value = resolve(option.value, finder.lookup(option.step)) or option.value
            secrets.append(value.partition(":")[2])
    return show.Mask(secrets)


def _other_language(file: Path) -> list[Problem]:
    language = _OTHER_LANGUAGES[file.suffix.lower()]
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


def _tell(problems: list[Problem]) -> None:
    mask = show.Mask()
    for problem in sorted(problems, key=lambda each: (str(each.path), each.line)):
        click.echo(mask(str(problem)), err=True)
