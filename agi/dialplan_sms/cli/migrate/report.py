"""What people see: the diff, what is left to do by hand and what comes next; no password in it."""

import difflib
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import click

from dialplan_sms.cli.migrate import files, senders
from dialplan_sms.cli.migrate.conversion import Conversion
from dialplan_sms.cli.migrate.dialplan import NAME, first
from dialplan_sms.host.terminal import plain

MASK = "********"

_NAME = (
    r"[\w.-]{0,40}(?:pass(?:word|wd|phrase|code)?|(?<!\(user)(?<!\(proxyuser)pwd"
    r"|secret|token|api[_-]?key|bearer|credential)s?\d{0,4}"
)
_GAP = r"(?:\s|%20|\\ ){0,9}"
# A word of the shell, quotes that dialplans write as \\" included; one that does not end goes on.
_WORD = r"""(?:\\"[^"]*"?|"(?:[^"\\]|\\.)*"?|'[^']*'?|\\.|[^\s"'\\])+"""
# Before the application's closing bracket: a password may hold brackets.
_LAST = r"(?=\)(?:[^)]*$|\)?\s*;)|$)"
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
# -u USER:PASSWORD, also as -sSuUSER:PASSWORD and in quotes.
_LOGIN = re.compile(
    rf"(?:(?<![\w-])-[\w#]*?[uU][\s=]*|--(?:proxy-)?user(?:\s+|\s*=\s*))({_WORD})", re.IGNORECASE
)
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


def show_diff(path: Path, old: bytes | None, new: bytes | None, mask: Mask) -> None:
    before, after = (
        [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
        for text in ((content or b"").decode("utf-8", "surrogateescape") for content in (old, new))
    )
    source = str(path) if old else "/dev/null"
    for line in difflib.unified_diff(before, after, source, str(path), lineterm=""):
        click.echo(f"{line[:1]}{mask(line[1:9000])}")  # Asterisk reads no longer ones


def mask_of(known: senders.Senders, finder: senders.Finder) -> Mask:
    """Hides all passwords of sms.conf and of the dialplan, and what a login is made of."""
    pairs = [(each.name, each.password) for each in (*known.new.values(), *known.there.values())]
    pairs += [(found.user, found.password) for found in finder.recipes]
    logins = [(finder.flow.resolve(o.step, o.value) or o.value, o.value) for o in finder.logins]
    pairs += [login.partition(":")[::2] for login, _ in logins]
    names = [name for _, old in logins for name in NAME.findall(old.partition(":")[2] or old)]
    held = [text for name in names for text in finder.dialplan.variables.get(name, [])]
    secrets = [text.partition(":")[2] or text for text in held if "$" not in text]
    passwords = (password for _, password in pairs)
    return Mask([*secrets, *passwords, *(basic(*pair) for pair in pairs if pair[1])])


def show_problems(
    problems: list[files.Problem], mask: Mask, number: Callable[[Path, int], int]
) -> None:
    """Each with the *number* that its line has now."""
    for problem in sorted(problems, key=lambda each: (str(each.path), each.line)):
        click.echo(mask(problem.told(number)), err=True)
        for line in problem.by_hand:
            click.echo(f"    {mask(line)}", err=True)


def show_next(
    known: senders.Senders,
    made: Conversion,
    paths: Iterable[Path],
    fields: int,
    writing: bool,
    backups: Mapping[Path, Path],
) -> None:
    """What to do next, in order: with the files *paths*, or with so many *fields*."""
    names, old = (", ".join(map(str, each)) for each in (paths, backups.values()))
    section = f"{', '.join(f'[{user}]' for user in known.new)} to {known.path}"
    written = f"{section}, then {names}" if known.new else f"{names}; {known.path} is ready"
    sender = first(
        (known.default,
         f"these SMS go as [{known.default}] of {known.path}: for another {_GIVE_LOGIN}"),
        (known.there, f"{known.path} has no default_sender: {_GIVE_LOGIN}"),
        (True, f"{known.path} has no sender yet: for its section {_GIVE_LOGIN}"),
    )  # fmt: skip
    steps = (
        # The service first, before a call can name a sender that it does not know.
        (known.new and writing, _RELOAD_SERVICE),
        (fields, f"in place of the old Custom application put {fields}, one below the other in this"
                 f" order: each of the {fields} lines above is what one field holds"),
        (names and not made.by_gosub,
         "if an SMS is to go out even if the caller hangs up (as it does with Gosub(sub-sms,s,1),"
         " not with AGI(sms.agi)): write #tryinclude extensions-sms.conf into extensions.conf (on"
         " FreePBX into extensions_custom.conf), and "
         + ("put Gosub(sub-sms,s,1) in place of AGI(sms.agi)" if writing else "run this again")),
        (not writing and (names or known.new),
         f"the same command with --write: it writes {written if names else section}"),
        (known.new and not writing, _RELOAD_SERVICE),
        (names, "asterisk -rx 'dialplan reload'"),
        (names and writing, "dialplan-sms check, and a call that sends an SMS"),
        (any(not found.sender for found in made.done), sender),
        (old, f"when all works, delete what still has the passwords: {old}"),
    )  # fmt: skip
    if names and not writing:
        click.echo("Nothing is written yet.", err=True)
    click.echo("Next:", err=True)
    for number, step in enumerate((step for needed, step in steps if needed), 1):
        click.echo(plain(f"  {number}. {step}"), err=True)
