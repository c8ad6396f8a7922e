"""What people see: the diff, what is left to do by hand and what comes next; no password in it."""

import difflib
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import click

from dialplan_sms.cli.migrate.expression import NAME
from dialplan_sms.cli.migrate.files import Problem
from dialplan_sms.cli.migrate.find import Finder
from dialplan_sms.cli.migrate.senders import Senders
from dialplan_sms.host.terminal import plain

_LONGEST = 9000
"""Characters of a line that are shown; Asterisk reads no longer ones."""
MASK = "********"

_NAMES = (
    r"pass(?:word|wd|phrase|code)?|(?<!\(user)(?<!\(proxyuser)pwd"
    r"|secret|token|api[_-]?key|bearer|credential"
)
_NAME = rf"[\w.-]{{0,40}}(?:{_NAMES})s?\d{{0,4}}"
_GAP = r"(?:\s|%20|\\ ){0,9}"
_WORD = r"""(?:\\"[^"]*"?|"(?:[^"\\]|\\.)*"?|'[^']*'?|\\.|[^\s"'\\])+"""
"""One of the shell, quotes that dialplans write as \\" included; one that does not end goes on."""
_LAST = r"(?=\)(?:[^)]*$|\)?\s*;)|$)"
"""Before the application's closing bracket: a password may hold brackets."""
_QUOTED_OR_NOT = r"""(?:"[^"]*|'[^']*|[^&\s"',;)}]+)"""

# What comes before a password, and the password. If its end is not sure, more is hidden.
_PLACES = tuple(
    re.compile(place, re.IGNORECASE)
    for place in (
        rf"(CURLOPT\(\s*(?:proxy)?userpwd\s*\)\s*=\s*[^:),]*:)[^\n]*?{_LAST}",
        rf"(CURLOPT\(\s*cookie\s*\)\s*=)[^\n]*?{_LAST}",
        # user:password@ in a URL, or in SIP/ and IAX2/; below, a password that holds a slash
        r"(/[^/@:\s,?]*:)[^/]*(?=@)",
        r"""(//[^/@:\s,?]*:)(?!\d{1,5}(?:[/?,)\s"'}]|$))[^\s,"'@]{0,200}(?=@)""",
        # headers: to the quote that ends them, else all that follows
        rf"""((["'])(?:proxy-)?authorization{_GAP}(?::|%3A|=){_GAP})(?:(?!\2).)*""",
        r"""(["'](?:proxy-)?authorization["']\s*\]?\s*[:=,]\s*).*""",
        rf"""((?<!["'])authorization{_GAP}\)?{_GAP}(?::|%3A|=){_GAP})(?!\*).*""",
        r"(\bBearer(?:\s|%20|\+|\\ )+)(?!\*{8})[^\s\"')]{6,}",
        r"(\bBasic(?:\s|%20|\+|\\ )+)(?=\S*[\d=])[\w+/=%]{8,}",
        rf"""((?<![\w-])(?:[\w-]{{0,40}}(?:[_-](?:key|token|auth|secret)|apikey)|cookie){_GAP}(?::|%3A){_GAP})[^"']*""",
        # options of curl, wget, mysql, sshpass
        rf"(--{_NAME}(?:\s+|\s*=\s*))(?!\*){_WORD}",
        rf"(--(?:cookie|aws-sigv4-key)(?:\s+|\s*=\s*)){_WORD}",
        rf"(\b(?:mysql\w*|mariadb\w*|sshpass)\b[^|;&]{{0,200}}?\s-p\s*){_WORD}",
        # netrc
        rf"(\b(?:machine|login)\s.{{0,200}}?\b(?:password|passwd|account)\s+)(?!\*){_WORD}",
        # assignments: a line of [globals] or sms.conf, Set(), a query, the environment, JSON
        rf"^([\s;]*{_NAME}\s*=>?\s*).*",
        rf"(Set\((?:[^()=]*[,(])?\s*_{{0,2}}{_NAME}\s*\)?\s*=)(?!\$\{{\w+\}}\)*\s*$|\$\{{CURL\()[^\n]*?{_LAST}",
        rf"((?<![\w.-])(?:{_NAME}|pw|pin|auth|sig|key)(?:=|%3D))(?!\*|\$\{{CURL\(){_QUOTED_OR_NOT}",
        rf"""(\\?["']{_NAME}\\?["']\s*:\s*\\?["']?)[^"',}}]+""",
        r"(\b(?:Authenticate|DISA)\()[^,)]+",
    )
)
_LOGIN = re.compile(
    rf"(?:(?<![\w-])-[\w#]*?[uU][\s=]*|--(?:proxy-)?user(?:\s+|\s*=\s*))({_WORD})", re.IGNORECASE
)
"""``-u USER:PASSWORD``, also as ``-sSuUSER:PASSWORD`` and in quotes."""
_RELOAD = "asterisk -rx 'dialplan reload'"
_RELOAD_SERVICE = (
    "if the service runs: systemctl reload dialplan-sms, since it still has the old sms.conf"
)
_GIVE_LOGIN = "give the line with CURLOPT(userpwd), too"


def _without_password(found: re.Match[str]) -> str:
    user, colon, password = found[1].partition(":")
    if not colon or found[1] == ":":
        return found[0]
    # An API key is a user without a password.
    shown = user if password.strip("\\\"')") else ""
    end = user[:1] if user[:1] in ("'", '"') and password[-1:] == user[:1] else ""
    return f"{found[0][: found.start(1) - found.start()]}{shown}:{MASK}{end}"


def basic(user: str, password: str) -> str:
    """How a login stands in a header."""
    return b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()


class Mask:
    """Hides what stands where passwords do, and the passwords that are known."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({secret for secret in secrets if len(secret) > 3}, key=len, reverse=True)
        forms = [
            form
            for secret in known
            for form in (secret.replace(";", "\\;"), secret, quote(secret, "", errors="replace"))
        ]
        # Not inside of other words, which would tell the password.
        words = "|".join(rf"(?<!\w){re.escape(form)}(?!\w)" for form in dict.fromkeys(forms))
        self._secrets = re.compile(words or r"(?!)")

    def __call__(self, text: str) -> str:
        text = _LOGIN.sub(_without_password, text)
        for place in _PLACES:
            text = place.sub(lambda found: found[1] + MASK, text)
        text = self._secrets.sub(MASK, text)
        return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in text)


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
    """Hides all passwords of sms.conf and of the dialplan, and what a login is made of."""
    logins = [(each.name, each.password) for each in (*known.new.values(), *known.there.values())]
    logins += [
        (asked.request.user, asked.request.password) for asked in finder.recipes if asked.request
    ]
    parts = []
    for option in finder.options.values():
        if option.name == "userpwd":
            value = finder.variables.resolve(option.step)(option.value) or option.value
            user, _, password = value.partition(":")
            logins.append((user, password))
            for name in NAME.findall(option.value.partition(":")[2] or option.value):
                parts += finder.dialplan.variables.get(name, [])
    held = [part.partition(":")[2] or part for part in parts if "$" not in part]
    passwords = [password for _, password in logins]
    return Mask([*held, *passwords, *(basic(*login) for login in logins if login[1])])


def show_problems(problems: list[Problem], mask: Mask) -> None:
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
        yield f"these SMS go as [{known.default}] of {known.path}: for another {_GIVE_LOGIN}"
    elif anonymous and known.there:
        yield f"{known.path} has no default_sender: {_GIVE_LOGIN}"
    elif anonymous:
        yield f"{known.path} has no sender yet: for its section {_GIVE_LOGIN}"
    if backups:
        yield _delete(backups)


def _delete(backups: Iterable[Path]) -> str:
    return f"when all works, delete what still has the passwords: {', '.join(map(str, backups))}"


def _to_gosub(then: str) -> str:
    return (
        "if an SMS is to go out even if the caller hangs up (as it does with Gosub(sub-sms,s,1),"
        " not with AGI(sms.agi)): write #tryinclude extensions-sms.conf into extensions.conf (on"
        " FreePBX into extensions_custom.conf),"
        f" {then}"
    )


def _sections(known: Senders) -> str:
    return f"{', '.join(f'[{user}]' for user in known.new)} to {known.path}"
