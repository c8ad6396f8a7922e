"""What people see: the diff, what is left to do by hand and what comes next; no password in it."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import click

from dialplan_sms.cli.migrate.files import Problem
from dialplan_sms.cli.migrate.find import Finder
from dialplan_sms.cli.migrate.mask import Mask, basic
from dialplan_sms.cli.migrate.senders import Senders
from dialplan_sms.host.terminal import plain

_LONGEST = 9000
"""Characters of a line that are shown; Asterisk reads no longer ones."""
_RELOAD = "asterisk -rx 'dialplan reload'"
_RELOAD_SERVICE = (
    "where the service runs: systemctl reload dialplan-sms, since it still has the old sms.conf"
)
_LOGIN = "give the line with CURLOPT(userpwd), too"


def say_next(steps: Iterable[str]) -> None:
    for number, step in enumerate(steps, 1):
        if number == 1:
            click.echo("Next:", err=True)
        click.echo(plain(f"  {number}. {step}"), err=True)


def show_conf(known: Senders, mask: Mask) -> None:
    if known.after is not None:
        show_diff(str(known.path), known.text or "", known.after, mask)


def show_diff(name: str, old: str, new: str, mask: Mask) -> None:
    before, after = (
        [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
        for text in (old, new)
    )
    source = name if old else "/dev/null"
    for line in difflib.unified_diff(before, after, source, name, lineterm=""):
        click.echo(f"{line[:1]}{mask(line[1:_LONGEST])}")


def mask_of(known: Senders, finder: Finder) -> Mask:
    logins = [(each.name, each.password) for each in (*known.new.values(), *known.there.values())]
    logins += [
        (each.request.user, each.request.password) for each in finder.recipes if each.request
    ]
    secrets = []
    for option in finder.options.values():
        if option.name == "userpwd":
            value = finder.variables.resolve(option.step)(option.value) or option.value
            user, _, password = value.partition(":")
            logins.append((user, password))
            secrets += _held(option.value, finder)
    secrets += [password for _, password in logins]
    return Mask([*secrets, *(basic(*login) for login in logins if login[1])])


def _held(login: str, finder: Finder) -> list[str]:
    """What the variables of a login are set to anywhere: its password, or user and password."""
    names = re.findall(r"\$\{(\w+)\}", login.partition(":")[2] or login)
    values = [value for name in names for value in finder.dialplan.variables.get(name, ())]
    return [value.partition(":")[2] or value for value in values if "$" not in value]


def tell(problems: list[Problem], mask: Mask) -> None:
    for problem in sorted(problems, key=lambda each: (str(each.path), each.line)):
        click.echo(mask(str(problem)), err=True)
        for line in problem.by_hand:
            click.echo(f"    {mask(line)}", err=True)


def counts(converted: int, problems: Iterable[Problem]) -> str:
    """What was found, in one line."""
    left = sum(1 for problem in problems if not problem.note)
    if not converted and not left:
        return "No use of the SMS API is left."
    return f"{converted} converted{f', {left} to see to by hand' if left else ''}."


def before_writing(known: Senders, files: Iterable[Path], gosub: bool) -> Iterator[str]:
    """The steps from a diff that is shown to a dialplan that runs."""
    if not gosub:
        yield _to_gosub("and run this again")
    names = ", ".join(map(str, files))
    if known.new:
        yield f"the same command with --write: it writes {_sections(known)}, then {names}"
        yield _RELOAD_SERVICE
    else:
        yield f"the same command with --write: it writes {names}; {known.path} is ready"
    yield _RELOAD


def after_writing(known: Senders, backups: Iterable[Path], gosub: bool) -> Iterator[str]:
    """The steps once the files are written."""
    if known.new:
        yield _RELOAD_SERVICE  # before a call can name a sender that the service does not know
    if not gosub:
        yield _to_gosub("and put Gosub(sub-sms,s,1) in place of AGI(sms.agi)")
    yield _RELOAD
    yield "dialplan-sms check, and a call that sends an SMS"
    yield _delete(backups)


def for_fields(
    number: int, known: Senders, writing: bool, anonymous: bool, backups: Collection[Path]
) -> Iterator[str]:
    """The steps for what was pasted. *anonymous* is whether a line does not say who sends."""
    if known.new and writing:
        yield _RELOAD_SERVICE
    yield (
        f"in place of the old Custom application put {number}, one below the other in this order:"
        f" each of the {number} lines above is what one field holds"
    )
    if known.new and not writing:
        yield f"the same command with --write: it writes {_sections(known)}"
        yield _RELOAD_SERVICE
    if anonymous and known.default:
        yield f"these SMS go as [{known.default}] of {known.path}: for another {_LOGIN}"
    elif anonymous and known.there:
        yield f"{known.path} has no default_sender: {_LOGIN}"
    elif anonymous:
        yield f"{known.path} has no sender yet: for its section {_LOGIN}"
    if backups:
        yield _delete(backups)


def _delete(backups: Iterable[Path]) -> str:
    return f"when all works, delete what still has the passwords: {', '.join(map(str, backups))}"


def _to_gosub(then: str) -> str:
    return (
        "if an SMS is to go out even where the caller hangs up (as it does with Gosub(sub-sms,s,1),"
        " not with AGI(sms.agi)): write #tryinclude extensions-sms.conf into extensions.conf (on"
        " FreePBX into extensions_custom.conf),"
        f" {then}"
    )


def _sections(known: Senders) -> str:
    return f"{', '.join(f'[{user}]' for user in known.new)} to {known.path}"
