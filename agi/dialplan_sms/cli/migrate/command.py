"""``dialplan-sms migrate``: the command."""

import fnmatch
import re
import sys
from pathlib import Path

import click

from dialplan_sms.cli.main import Misused, config_option
from dialplan_sms.cli.migrate import files, flow, report, senders
from dialplan_sms.cli.migrate.conversion import Conversion
from dialplan_sms.cli.migrate.dialplan import first
from dialplan_sms.host.identity import HostError
from dialplan_sms.host.terminal import plain

# Files that are not converted: the language, and what to put there by hand.
_OTHER_LANGUAGES = {
    ".ael": ("AEL", "Set(SMS_NUMBER=<number>);", "Set(SMS_MESSAGE=<text>);", "AGI(sms.agi);"),
    ".lua": (
        "Lua", 'channel.SMS_NUMBER = "<number>"', 'channel.SMS_MESSAGE = "<text>"',
        'app.AGI("sms.agi")',
    ),
}  # fmt: skip
_MOST_PASTED = 1 << 20
_Source = tuple[files.Tree, set[Path], list[files.Problem]]
_PASTED = Path("pasted")
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
    pasted = bool(texts) or Path("-") in named
    if pasted and len(named) > (Path("-") in named):
        raise click.UsageError("files and pasted lines do not go together")
    tree, changeable, problems = _pasted(texts) if pasted else _files(named)
    finder = senders.Finder(tree, known, changeable, anonymous=pasted)
    made = Conversion(finder)
    mask = report.mask_of(known, finder)
    contents = [(path, tree.contents[path], tree.changed(path)) for path in sorted(changeable)]
    changes = [(path, old, new) for path, old, new in contents if old != new and not pasted]
    paths = [path for path, *_ in changes]
    conf = (known.path, known.content, known.after)
    fields = _fields(contents[0][2]) if pasted and made.done else []
    for field in fields:
        click.echo(mask(field) if "CURL" in field.upper() else field)
    for change in (*changes, conf):
        report.show_diff(*change, mask)
    included = [
        files.Problem(path, 0, f"its backup would be included by {pattern}: make that *.conf")
        for pattern in tree.globs
        for path in paths
        if fnmatch.fnmatch(f"{path}{files.BACKUP}", pattern)
    ]
    # A line may be read twice.
    problems = list(dict.fromkeys([*tree.problems, *made.problems, *problems, *included]))
    left = sum(not problem.note for problem in problems)
    said = first(
        (not pasted and (made.done or left),
         f"{len(made.done)} converted{f', {left} to see to by hand' if left else ''}."),
        (not pasted, "No use of the SMS API is left."),
        (not fields and not problems, "No use of the SMS API."),
    )  # fmt: skip
    backups: dict[Path, Path] = {}
    try:
        if writing and not included:
            _write([conf, *changes], backups)
    finally:
        # Who reads this has the new files open; one that could not be written is as it was.
        report.show_problems(
            problems, mask, lambda path, line: tree.number(path, line) if path in backups else line
        )
        if said:
            click.echo(said, err=True)
    if fields or (paths and not included):
        report.show_next(known, made, paths, len(fields), writing, backups)
    if left:
        raise SystemExit(1)


def _standard_input() -> str:
    if sys.stdin is None:
        raise click.ClickException("standard input is closed")
    content = sys.stdin.buffer.read(_MOST_PASTED + 1)
    if len(content) > _MOST_PASTED:
        raise Misused("standard input is larger than 1 MiB: give it in parts, or name the file")
    return content.decode("utf-8", "surrogateescape")


def _files(named: tuple[Path, ...]) -> _Source:
    """What FILE names, which of it may change, and the uses of the SMS API in AEL and Lua."""
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
        raise Misused(report.Mask()(unread[0].told()) + hint)
    foreign = [problem for file in others for problem in _other_language(file)]
    return files.around(tree, etc / "extensions.conf"), set(tree.contents), foreign


def _other_language(file: Path) -> list[files.Problem]:
    """The uses of the SMS API in AEL or Lua, to be converted by hand."""
    tree = files.Tree(file.parent)
    tree.read(file)
    language, *by_hand = _OTHER_LANGUAGES[file.suffix.lower()]
    reason = f"{language} is not converted: set SMS_NUMBER and SMS_MESSAGE, call AGI(sms.agi)"
    return [
        *(problem for problem in tree.problems if not problem.note),
        *(files.Problem(*line.place, reason, by_hand=tuple(by_hand))
          for line in tree.stream if flow.API.search(line.raw)),
    ]  # fmt: skip


def _pasted(texts: tuple[str, ...]) -> _Source:
    """Each line, a step's beginning left off, as a step of one extension."""
    steps = []
    for line in ("\n".join(texts) if texts else _standard_input()).split("\n"):
        app, of_a_file = _STEP.subn("", line, count=1)
        # A semicolon of a field is part of its text; one of a file would begin a comment.
        app = app.strip() if of_a_file else _SEMICOLON.sub(r"\\;", app.strip("; \t\r"))
        steps.append(f"exten => s,n,{f'Set({app})' if _OPTION.match(app) else app}")
    tree = files.Tree(Path("/"))
    tree.add(Path(), b"[pasted]\nexten => s,1,NoOp()", (Path(), 0))
    tree.add(_PASTED, "\n".join(steps).encode("utf-8", "surrogateescape"), (_PASTED, 0))
    return tree, {_PASTED}, []


def _fields(content: bytes) -> list[str]:
    """What the fields are to hold, of the converted lines."""
    apps = re.findall(r"(?m)^exten[^,\n]*,[^,\n]*,(.*)", content.decode("utf-8", "surrogateescape"))
    # Some are not worth a field of their own; without a sender it is default_sender.
    return [app for app in apps if app not in ("", "Set(SMS_STATUS=)", "Set(SMS_SENDER=)")]


def _write(
    changes: list[tuple[Path, bytes | None, bytes | None]], backups: dict[Path, Path]
) -> None:
    """Write each file that changes, sms.conf first; *backups* gets the backup of each there was."""
    beside = changes[-1][0] if len(changes) > 1 else changes[0][0].parent
    for path, old, new in changes:
        if new is not None and new != old:
            try:
                backup = files.write(path, old, new, beside)
            except HostError as error:
                raise click.ClickException(str(error)) from None
            except OSError as error:
                raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
            if backup:
                backups[path] = backup
            old_one = f", the old one is {backup}" if backup else ""
            click.echo(plain(f"{path}: written{old_one}"), err=True)
