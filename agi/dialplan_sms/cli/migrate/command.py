"""``dialplan-sms migrate``: the command."""

import fnmatch
import re
import sys
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

import click

from dialplan_sms.cli.main import Misused, config_option
from dialplan_sms.cli.migrate import (  # fmt: skip
    advice,
    chosen,
    dialplan,
    find,
    pasted,
    plan,
    senders,
    show,
    write,
)
from dialplan_sms.cli.migrate.expression import resolve
from dialplan_sms.cli.migrate.files import Problem, Tree, lines
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.terminal import plain

_LONGEST = 9000
"""Characters of a line that are shown; Asterisk reads no longer ones."""
_MOST_PASTED = 1 << 20


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@config_option
@click.option("--text", "texts", multiple=True, help="A line pasted from a Custom application.")
@click.option(
    "--same-pbx",
    is_flag=True,
    help="The addresses in the old lines are the PBX of url in sms.conf.",
)
@click.option("--write", "writing", is_flag=True, help="Write the files; each keeps a backup.")
def migrate(
    files: tuple[Path, ...],
    config: Path | None,
    texts: tuple[str, ...],
    same_pbx: bool,
    writing: bool,
) -> None:
    """Convert the CURL() recipe in FILE and what it includes.

    Only shows a diff, and changes nothing, unless --write is given. FILE is extensions.conf in
    Asterisk's folder by default, and - reads lines of Custom applications from standard input.
    User and password move to sms.conf.

    Exit status: 0 all converted or nothing to convert, 1 something is left, 2 wrong usage.
    """
    path = smsconf.find(str(config) if config else None)
    try:
        known = senders.read(path, same_pbx)
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
    content = sys.stdin.buffer.read(_MOST_PASTED + 1)
    if len(content) > _MOST_PASTED:
        raise Misused("standard input is larger than 1 MiB: give it in parts, or name the file")
    return content.decode("utf-8", "surrogateescape")


def _files(files: tuple[Path, ...], known: senders.Senders, writing: bool) -> list[Problem]:
    etc = chosen.etc(files)
    tree, problems = Tree(etc), []
    for file in files or (etc / "extensions.conf",):
        if file.suffix.lower() not in chosen.OTHER_LANGUAGES:
            tree.read(file)
    chosen.refuse_unreadable(tree, files)
    changeable = set(tree.contents)
    for file in files or tuple(etc / f"extensions{suffix}" for suffix in chosen.OTHER_LANGUAGES):
        if file.suffix.lower() in chosen.OTHER_LANGUAGES and (files or file.exists()):
            problems += chosen.other_language(file)
    tree = chosen.around(tree, etc / "extensions.conf")
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
    backups: dict[Path, Path] = {}
    try:
        if writing:
            _write(known, changes, tree, backups)
    finally:
        # Who reads this has the new files open; one that could not be written is as it was.
        number = partial(_number, made, backups.keys())
        _tell([problem.moved(number) for problem in problems], mask)
        click.echo(advice.counts(made.converted, problems), err=True)
    gosub = planner.call == plan.GOSUB
    if backups:
        _say_next(advice.after_writing(known, backups.values(), gosub))
    elif changes and not blocked:
        click.echo("Nothing is written yet.", err=True)
        _say_next(advice.before_writing(known, changes, gosub))
    return problems


def _say_next(steps: Iterable[str]) -> None:
    steps = list(steps)
    for line in advice.numbered(steps) if steps else ():
        click.echo(plain(line), err=True)


def _number(made: plan.Plan, written: Collection[Path], path: Path, number: int) -> int:
    return made.number(path, number) if path in written else number


def _write(
    known: senders.Senders, changes: dict[Path, bytes], tree: Tree, backups: dict[Path, Path]
) -> None:
    """Write sms.conf and *changes*; *backups* gets the backup of each that there was."""
    try:
        if known.after is not None:
            backup = write.add(known.path, known.after, known.text, next(iter(changes), None))
            _say_written(known.path, backup, backups)
        for path, content in changes.items():
            _say_written(path, write.replace(path, tree.contents[path], content), backups)
    except write.CannotWrite as error:
        raise click.ClickException(str(error)) from None


def _say_written(path: Path, backup: Path | None, backups: dict[Path, Path]) -> None:
    if backup:
        backups[path] = backup
    old = f", the old one is {backup}" if backup else ""
    click.echo(plain(f"{path}: written{old}"), err=True)


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
    _tell(problems, mask)
    backups: dict[Path, Path] = {}
    if writing:
        _write(known, {}, tree, backups)
    anonymous = any(
        found.request and not found.reason and not found.user for found in finder.recipes
    )
    if fields:
        _say_next(advice.for_fields(len(fields), known, writing, anonymous, backups.values()))
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
    senders_here = (*known.new.values(), *known.there.values())
    logins = [(sender.name, sender.password) for sender in senders_here]
    logins += [
        (each.request.user, each.request.password) for each in finder.recipes if each.request
    ]
    secrets = []
    for option in finder.options:
        if option.name == "userpwd":
            value = resolve(option.value, finder.lookup(option.step)) or option.value
            user, _, password = value.partition(":")
            logins.append((user, password))
            secrets += _held(option.value, finder)
    secrets += [password for _, password in logins]
    return show.Mask([*secrets, *(show.basic(*login) for login in logins if login[1])])


def _held(login: str, finder: find.Finder) -> list[str]:
    """What the variables of a login are set to anywhere: its password, or user and password."""
    names = re.findall(r"\$\{(\w+)\}", login.partition(":")[2] or login)
    values = [value for name in names for _, value in finder.dialplan.assigned.get(name, ())]
    return [value.partition(":")[2] or value for value in values if "$" not in value]


def _tell(problems: list[Problem], mask: show.Mask) -> None:
    for problem in sorted(problems, key=lambda each: (str(each.path), each.line)):
        click.echo(mask(str(problem)), err=True)
