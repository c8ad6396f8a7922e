"""Write the manual pages and sms.conf.sample: ``python -m man.build``; ``--check`` only compares.

A command's page is what its ``--help`` says; sms.conf(5) and the sample are the keys' own
descriptions. So each text stands in one place.
"""

import re
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from inspect import cleandoc
from pathlib import Path

import click

from debian.build import changelog
from dialplan_sms.cli.main import main
from man.keys import SECTIONS, sample

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "dialplan/sms.conf.sample"

_CONF = r"""
A file of sections, as Asterisk's own: [section], key = value, and ; begins a comment. \; is a
semicolon. An unknown key, a bad value, a key or section given twice, or a file that everybody can
read is an error.

Each section but [general] and [http] is a sender, named after the user of the PBX. [general] takes
the keys of a sender, too, as defaults for all of them.

A time is a number and s, m, h or d.
"""
_FILES = [
    ("--config PATH", "names sms.conf. If it is not given:"),
    ("$DIALPLAN_SMS_CONF", "the path of sms.conf"),
    ("$AST_CONFIG_DIR/sms.conf", "in Asterisk's folder, if that is another than the next"),
    ("/etc/asterisk/sms.conf", "is used if none of these is set"),
]


def pages() -> Iterator[tuple[Path, str]]:
    """Each file and what belongs into it."""
    top = click.Context(main, info_name="dialplan-sms", **main.context_settings)
    names = [f"dialplan-sms-{context.info_name}" for context in _commands(top)]
    yield _written("dialplan-sms", 1, _command(top), names)
    for name, context in zip(names, _commands(top), strict=True):
        yield _written(name, 1, _command(context), ["dialplan-sms"])
    yield _written("sms.conf", 5, _conf(), ["dialplan-sms"])
    yield SAMPLE, sample()


def _commands(context: click.Context) -> Iterator[click.Context]:
    """The commands of a group; none if it is no group."""
    group = context.command
    for name in group.list_commands(context) if isinstance(group, click.Group) else ():
        if command := group.get_command(context, name):  # type: ignore[attr-defined]
            yield click.Context(command, context, info_name=name, **command.context_settings)


def _command(context: click.Context) -> Iterator[str]:
    text, _, ends = cleandoc(context.command.help or "").partition("Exit status: ")
    yield context.command.get_short_help_str(200)
    yield from (".SH SYNOPSIS", *_usage(context), ".SH DESCRIPTION", *_prose(text))
    yield from (".SH OPTIONS", *_options(context))
    inner = list(_commands(context))
    if inner:
        yield ".SH COMMANDS"
    for each in inner:
        if context.parent is None:  # each has a page of its own
            yield from _entry(each.command.name, each.command.get_short_help_str(200))
        else:
            yield from (f".SS {_plain(each.info_name)}", *_usage(each), ".PP")
            yield from (*_prose(each.command.help), *_options(each))
    if ends:
        yield from (".SH EXIT STATUS", *_prose(ends))


def _conf() -> Iterator[str]:
    yield "settings of dialplan-sms"
    yield from (".SH DESCRIPTION", *_prose(_CONF))
    for title, keys in SECTIONS:
        yield f".SH {_plain(title.upper())}"
        for name, text, _ in keys:
            yield from _entry(name, text)


def _written(name: str, section: int, parts: Iterable[str], also: list[str]) -> tuple[Path, str]:
    """A page: its short description comes first in *parts*."""
    version, when = changelog()
    date = time.strftime("%Y-%m-%d", time.gmtime(when))
    about, *rest = parts
    lines = [
        '.\\" Written by make man: change the help of the command or the description of the key.',
        f'.TH {_plain(name.upper())} {section} {date} "dialplan-sms {version}"',
        ".SH NAME",
        f"{_plain(name)} \\- {_plain(about.rstrip('.'))}",
        *rest,
        ".SH FILES",
        *(line for entry in _FILES for line in _entry(*entry)),
        ".SH SEE ALSO",
        *(f".BR {_plain(each)} (1) ," for each in also),
        ".BR dialplan\\-sms\\-check (1)" if section == 5 else ".BR sms.conf (5)",
    ]
    return HERE / f"{name}.{section}", "\n".join(lines) + "\n"


def _usage(context: click.Context) -> tuple[str, str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f".B {_plain(context.command_path)}", _plain(pieces.strip())


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1]:  # arguments have no help
            yield from _entry(*record)


def _entry(term: str | None, text: str) -> tuple[str, ...]:
    return (".TP", f".B {_plain(term)}", *_lines(text))


def _prose(text: str | None) -> Iterator[str]:
    """Paragraphs; one that is indented stands as it is."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", cleandoc(text or ""))):
        if number:
            yield ".PP"
        if paragraph.startswith("    "):
            yield from (".nf", *map(_plain, paragraph.split("\n")), ".fi")
        else:
            yield from _lines(paragraph)


def _lines(text: str) -> list[str]:
    return [_plain(line) for line in textwrap.wrap(" ".join(text.split()), 72)]


def _plain(text: str | None) -> str:
    """What roff shows as this text; one line."""
    text = (text or "").replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return "\\&" + text if text[:1] in (".", "'") else text


if __name__ == "__main__":
    made = dict(pages())
    there = {path: path.read_text() for path in [SAMPLE, *HERE.glob("*.[15]")] if path.exists()}
    if "--check" not in sys.argv[1:]:
        for path in there.keys() - made.keys():
            path.unlink()
        for path, page in made.items():
            path.write_text(page)
    elif there != made:
        stale = {path.name for path, _ in made.items() ^ there.items()}
        sys.exit(f"run make man, these are not current: {', '.join(sorted(stale))}")
