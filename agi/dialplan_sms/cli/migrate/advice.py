"""What the admin does next, in order."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from dialplan_sms.cli.migrate.files import Problem
from dialplan_sms.cli.migrate.senders import Senders

_RELOAD = "asterisk -rx 'dialplan reload'"
_RELOAD_SERVICE = (
    "where the service runs: systemctl reload dialplan-sms, since it still has the old sms.conf"
)
_LOGIN = "give the line with CURLOPT(userpwd), too"


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
