"""``dialplan-sms migrate``: the command."""

import fnmatch
import re
import sys
from pathlib import Path

import click

from dialplan_sms.cli.main import Misused, config_option
from dialplan_sms.cli.migrate import files, flow, report, senders
from dialplan_sms.cli.migrate.conversion import Conversion
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.terminal import plain

_OTHER_LANGUAGES = {
    ".ael": (
        "AEL", "Set(SMS_NUMBER=<number>);", "Set(SMS_MESSAGE=<text>);", "AGI(sms.agi);",
    ),
    ".lua": (
        "Lua", 'channel.SMS_NUMBER = "<number>"', 'channel.SMS_MESSAGE = "<text>"',
        'app.AGI("sms.agi")',
    ),
}  # fmt: skip
"""Files that are not converted: the language, and what to put there by hand."""
_MOST_PASTED = 1 << 20
_PASTED = Path("pasted")
_NO_FIELDS = {"", "Set(SMS_STATUS=)", "Set(SMS_SENDER=)"}
"""Not worth a field of their own; without a sender it is default_sender."""
_OPTION = re.compile(r"(?i)CURLOPT\(\w+\)\s*=")
_STEP = re.compile(r"(?i)\s*(?:exten\s*=>?\s*[^,]*,|same\s*=>?\s*)\s*[^,]*,\s*")
_SEMICOLON = re.compile(r"(?<!\\);")


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
    named: tuple[Path, ...], config: Path, texts: tuple[str, ...], same_pbx: bool, writing: bool
) -> None:
    """Convert the CURL() recipe in FILE and what it includes.

    Only shows a diff, and changes nothing, unless --write is given. FILE is extensions.conf in
    Asterisk's folder by default, and - reads lines of Custom applications from standard input.
    User and password move to sms.conf. What is not understood wholly is named with the lines to
    put there by hand.

    Exit status: 0 all converted or nothing to convert, 1 something is left, 2 wrong usage.
    """
    known = senders.read(config, same_pbx)
    if Path("-") in named or texts:
        if len(named) > (Path("-") in named):
            raise click.UsageError("files and pasted lines do not go together")
        problems = _pasted("\n".join(texts) if texts else _standard_input(), known, writing)
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


def _files(named: tuple[Path, ...], known: senders.Senders, writing: bool) -> list[files.Problem]:
    etc = files.asterisk_folder(named)
    usual = filter(Path.exists, (etc / f"extensions{suffix}" for suffix in _OTHER_LANGUAGES))
    others = [file for file in named or usual if file.suffix.lower() in _OTHER_LANGUAGES]
    tree = files.Tree(etc)
    for file in named or (etc / "extensions.conf",):
        if file not in others:
            tree.read(file)
    # A FILE that cannot be read is wrong usage; so is extensions.conf if it is all there is.
    unread = [problem for problem in tree.problems if not problem.line]
    if unread and (named or not others):
        hint = "" if named else ": name the dialplan's file"
        raise Misused(report.Mask()(f"{unread[0]}{hint}"))
    changeable = set(tree.contents)
    tree = files.around(tree, etc / "extensions.conf")
    finder = senders.Finder(tree, known, changeable)
    made = Conversion(finder)
    mask = report.mask_of(known, finder)
    contents = {path: tree.changed(path) for path in sorted(changeable)}
    changes = {path: new for path, new in contents.items() if new != tree.contents[path]}
    for path, new in changes.items():
        report.show_diff(path, tree.contents[path], new, mask)
    report.show_diff(known.path, known.content, known.after, mask)
    included = [
        files.Problem(path, 0, f"its backup would be included by {pattern}: make that *.conf")
        for pattern in tree.globs
        for path in changes
        if fnmatch.fnmatch(f"{path}{files.BACKUP}", pattern)
    ]
    foreign = [problem for file in others for problem in _other_language(file)]
    # A line may be read twice.
    problems = list(dict.fromkeys([*tree.problems, *made.problems, *foreign, *included]))
    backups: dict[Path, Path] = {}
    try:
        if writing and not included:
            _write(known, changes, tree, backups)
    finally:
        # Who reads this has the new files open; one that could not be written is as it was.
        def number(path: Path, line: int) -> int:
            return tree.number(path, line) if path in backups else line

        report.show_problems([problem.moved(number) for problem in problems], mask)
        left = sum(not problem.note for problem in problems)
        counts = f"{len(made.done)} converted{f', {left} to see to by hand' if left else ''}."
        click.echo(counts if made.done or left else "No use of the SMS API is left.", err=True)
    if backups or (changes and not included):
        report.next_of_files(known, changes, made.by_gosub, backups)
    return problems


def _other_language(file: Path) -> list[files.Problem]:
    """The uses of the SMS API in AEL or Lua, to be converted by hand."""
    tree = files.Tree(file.parent)
    tree.read(file)
    language, *by_hand = _OTHER_LANGUAGES[file.suffix.lower()]
    reason = f"{language} is not converted: set SMS_NUMBER and SMS_MESSAGE, call AGI(sms.agi)"
    found = [
        files.Problem(*line.place, reason, by_hand=tuple(by_hand))
        for line in tree.stream
        if flow.API.search(line.raw)
    ]
    return [*(each for each in tree.problems if not each.note), *found]


def _pasted(text: str, known: senders.Senders, writing: bool) -> list[files.Problem]:
    """Convert each line, a step's beginning left off, as the steps of one extension.

    A semicolon of a field is part of its text; one of a file would begin a comment.
    """
    content = "[pasted]\nexten => s,1,NoOp()\n"
    for line in text.split("\n"):
        app, of_a_file = _STEP.subn("", line, count=1)
        app = app.strip() if of_a_file else _SEMICOLON.sub(r"\\;", app.strip("; \t\r"))
        content += f"exten => s,n,{f'Set({app})' if _OPTION.match(app) else app}\n"
    tree = files.Tree(Path("/"))
    tree.add(_PASTED, content.encode("utf-8", "surrogateescape"), (_PASTED, 0))
    finder = senders.Finder(tree, known, {_PASTED}, anonymous=True)
    made = Conversion(finder)
    problems = [each.moved(lambda _, line: line - 2) for each in dict.fromkeys(made.problems)]
    mask = report.mask_of(known, finder)
    steps = tree.changed(_PASTED).decode("utf-8", "surrogateescape").split("\n")[2:]
    apps = [step.split(",", 2)[2] for step in steps if made.done and step.startswith("exten")]
    fields = [app for app in apps if app not in _NO_FIELDS]
    for field in fields:
        click.echo(mask(field) if "CURL" in field.upper() else field)
    report.show_diff(known.path, known.content, known.after, mask)
    report.show_problems(problems, mask)
    backups: dict[Path, Path] = {}
    if writing:
        _write(known, {}, tree, backups)
    if fields:
        anonymous = any(not found.sender for found in made.done)
        report.next_of_fields(len(fields), known, writing, anonymous, backups)
    elif not problems:
        click.echo("No use of the SMS API.", err=True)
    return problems


def _write(
    known: senders.Senders, changes: dict[Path, bytes], tree: files.Tree, backups: dict[Path, Path]
) -> None:
    """Write sms.conf and *changes*; *backups* gets the backup of each that there was."""
    beside = next(iter(changes), known.path.parent)
    conf = {known.path: known.after} if known.after and known.new else {}
    for path, content in (conf | changes).items():
        old = known.content if path in conf else tree.contents[path]
        try:
            backup = files.write(path, old, content, beside)
        except (HostError, OSError) as error:
            why = getattr(error, "strerror", None)
            raise click.ClickException(
                f"{path} cannot be written: {why}" if why else str(error)
            ) from None
        if backup:
            backups[path] = backup
        old_one = f", the old one is {backup}" if backup else ""
        click.echo(plain(f"{path}: written{old_one}"), err=True)
