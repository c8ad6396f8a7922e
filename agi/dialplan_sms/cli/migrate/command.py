"""``dialplan-sms migrate``: the command."""

import fnmatch
import sys
from pathlib import Path

import click

from dialplan_sms.cli.main import config_option
from dialplan_sms.cli.migrate import conversion, dialplan, files, report, senders, write
from dialplan_sms.cli.migrate.files import Problem, Tree
from dialplan_sms.cli.migrate.find import Finder
from dialplan_sms.cli.migrate.report import Mask
from dialplan_sms.cli.migrate.variables import API
from dialplan_sms.cli.outbox.options import Misused
from dialplan_sms.config import config as smsconf
from dialplan_sms.config.parser import ConfigError
from dialplan_sms.host.terminal import plain

_MOST_PASTED = 1 << 20


@click.command()
@click.argument("named", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@config_option
@click.option("--text", "texts", multiple=True, help="A line pasted from a Custom application.")
@click.option(
    "--same-pbx",
    is_flag=True,
    help="The addresses in the old lines are the PBX of url in sms.conf.",
)
@click.option("--write", "writing", is_flag=True, help="Write the files; each keeps a backup.")
def migrate(
    named: tuple[Path, ...],
    config: Path | None,
    texts: tuple[str, ...],
    same_pbx: bool,
    writing: bool,
) -> None:
    """Convert the CURL() recipe in FILE and what it includes.

    Only shows a diff, and changes nothing, unless --write is given. FILE is extensions.conf in
    Asterisk's folder by default, and - reads lines of Custom applications from standard input.
    User and password move to sms.conf. What is not understood wholly is named with the lines to
    put there by hand.

    Exit status: 0 all converted or nothing to convert, 1 something is left, 2 wrong usage.
    """
    path = smsconf.find(str(config) if config else None)
    try:
        known = senders.read(path, same_pbx)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    if Path("-") in named or texts:
        if len(named) > (Path("-") in named):
            raise click.UsageError("files and pasted lines do not go together")
        text = "\n".join(texts) if texts else _standard_input()
        problems = _pasted(text, known, writing)
    else:
        problems = _files(named, known, writing)
    if any(not problem.note for problem in problems):
        raise SystemExit(1)


def _standard_input() -> str:
    if sys.stdin is None:
        raise click.ClickException("standard input is closed")
    content = sys.stdin.buffer.read(_MOST_PASTED + 1)
    if len(content) > _MOST_PASTED:
        raise Misused("standard input is larger than 1 MiB: give it in parts, or name the file")
    return content.decode("utf-8", "surrogateescape")


def _files(named: tuple[Path, ...], known: senders.Senders, writing: bool) -> list[Problem]:
    etc = files.asterisk_folder(named)
    tree = Tree(etc)
    others = [file for file in named if file.suffix.lower() in files.OTHER_LANGUAGES]
    for file in named or (etc / "extensions.conf",):
        if file not in others:
            tree.read(file)
    if not named:
        usual = (etc / f"extensions{suffix}" for suffix in files.OTHER_LANGUAGES)
        others = list(filter(Path.exists, usual))
    if named or not others:
        _refuse_unreadable(tree, "" if named else ": name the dialplan's file")
    changeable = set(tree.contents)
    tree = files.around(tree, etc / "extensions.conf")
    found = dialplan.read(tree)
    finder = Finder(tree, found, known, changeable)
    made = conversion.Conversion(finder)
    problems = [*tree.problems, *made.problems, *conversion.mentions(found, changeable)]
    for file in others:
        problems += _other_language(file)
    mask = report.mask_of(known, finder)
    new = {path: made.edits.content(path, tree.contents[path]) for path in sorted(changeable)}
    changes = {path: content for path, content in new.items() if content != tree.contents[path]}
    for path, content in changes.items():
        old = tree.contents[path].decode("utf-8", "surrogateescape")
        report.show_diff(str(path), old, content.decode("utf-8", "surrogateescape"), mask)
    report.show_conf(known, mask)
    included = [
        Problem(path, 0, f"its backup would be included by {pattern}: make that *.conf")
        for pattern in tree.globs
        for path in changes
        if fnmatch.fnmatch(write.backup_names(path), pattern)
    ]
    problems += included
    backups: dict[Path, Path] = {}
    try:
        if writing and not included:
            _write(known, changes, tree, backups)
    finally:
        # Who reads this has the new files open; one that could not be written is as it was.
        def number(path: Path, line: int) -> int:
            return made.edits.number(path, line) if path in backups else line

        report.show_problems([problem.moved(number) for problem in problems], mask)
        click.echo(report.counts(made.converted, problems), err=True)
    if backups:
        report.say_next(report.after_writing(known, backups.values(), made.by_gosub))
    elif changes and not included:
        click.echo("Nothing is written yet.", err=True)
        report.say_next(report.before_writing(known, changes, made.by_gosub))
    return problems


def _refuse_unreadable(tree: Tree, hint: str) -> None:
    """A FILE that cannot be read is wrong usage; so is extensions.conf if it is all there is."""
    for problem in tree.problems:
        if not problem.line:
            raise Misused(Mask()(f"{problem}{hint}"))


def _other_language(file: Path) -> list[Problem]:
    """The uses of the SMS API in AEL or Lua, to be converted by hand."""
    tree = Tree(file.parent)
    tree.read(file)
    language = files.OTHER_LANGUAGES[file.suffix.lower()]
    reason = f"{language} is not converted: set SMS_NUMBER and SMS_MESSAGE, call AGI(sms.agi)"
    found = [
        Problem(line.path, line.number, reason) for line in tree.stream if API.search(line.raw)
    ]
    return [*(each for each in tree.problems if not each.note), *found]


def _pasted(text: str, known: senders.Senders, writing: bool) -> list[Problem]:
    tree = files.of_fields(text)
    found = dialplan.read(tree)
    finder = Finder(tree, found, known, {files.PASTED}, anonymous=True)
    made = conversion.Conversion(finder)
    named = [*made.problems, *conversion.mentions(found, {files.PASTED})]
    problems = list(map(files.in_fields, named))
    mask = report.mask_of(known, finder)
    content = made.edits.content(files.PASTED, tree.contents[files.PASTED])
    fields = files.to_fields(content) if made.converted else []
    for field in fields:
        click.echo(mask(field) if "CURL" in field.upper() else field)
    report.show_conf(known, mask)
    report.show_problems(problems, mask)
    backups: dict[Path, Path] = {}
    if writing:
        _write(known, {}, tree, backups)
    anonymous = any(not found.reason and not found.user for found in finder.recipes)
    if fields:
        report.say_next(report.for_fields(len(fields), known, writing, anonymous, backups.values()))
    if not made.converted and not problems:
        click.echo("No use of the SMS API.", err=True)
    return problems


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
