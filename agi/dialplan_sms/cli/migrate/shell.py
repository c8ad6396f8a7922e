"""What one step asks of the SMS API by the program curl, as the vendor's page has it."""

import re
import shlex

from dialplan_sms.cli.migrate import encoding
from dialplan_sms.cli.migrate.expression import Unclear, literal, parts
from dialplan_sms.cli.migrate.request import ApiRequest, Resolve, read_url

REPLY = "SYSTEMSTATUS"
"""The variable of System()'s outcome."""

_SYSTEM = re.compile(r"(?:Try)?System\((.*)\)", re.IGNORECASE | re.DOTALL)
_SHELL = re.compile(r"Set\([ \t]*(\w+)[ \t]*=[ \t]*\$\{SHELL\((.*)\)\}[ \t]*\)", re.IGNORECASE)
_STARTS = re.compile(
    r"(?:(?:Try)?System\(|Set\(\s*\w+\s*=\s*\$\{SHELL\()\s*(?:/usr/bin/)?curl\s", re.IGNORECASE
)
_WORD = r"""(?:[\w@%+=:,./\ue000-\ue001-]|'[^']*'|"(?:[^"`$\\]|\\["\\])*")+"""
_COMMAND = re.compile(rf"\s*{_WORD}(?:\s+{_WORD})*\s*")
"""Words that the shell hands on as they are: nothing in them that it would replace."""
_UNREAD = re.compile(r"(?<!2)>\s*/dev/null|\s(?:-o|--output)\b")
_REPLACED = re.compile(r"[`$\\]")

_PARAMETER = re.compile(rf"(?:{'|'.join(encoding.PARAMETERS)})=")
_SILENT = {"-s", "-S", "-sS", "--silent", "--show-error", "-f", "--fail", "-v", "-L", "--location"}
_FORM = {"-d", "--data", "--data-raw", "--data-ascii"}
_VALUES = {
    "-m": r".*", "--max-time": r".*", "--connect-timeout": r".*", "-X": "GET|POST",
    "--request": "GET|POST", "-o": "/dev/null", "--output": "/dev/null",
    "-H": r"content-type:\s*application/x-www-form-urlencoded",
    "--header": r"content-type:\s*application/x-www-form-urlencoded",
}  # fmt: skip
"""Options with a value, and which."""
_TOO_MUCH = "a curl command is not converted with {}"


def is_curl(app: str) -> bool:
    """Whether *app* starts the program curl and nothing else."""
    return _STARTS.match(app) is not None


def read(app: str, resolve: Resolve) -> ApiRequest:
    """The request of ``System(curl …)`` or ``Set(name=${SHELL(curl …)})``. Raises Unclear."""
    system, shell = _SYSTEM.fullmatch(app), _SHELL.fullmatch(app)
    if system:
        reply, command = REPLY, system[1]
    elif shell:
        reply, command = shell[1], shell[2]
    else:
        raise Unclear("the application's closing bracket is missing")
    expressions: list[str] = []
    marked = ""
    for is_expression, piece in parts(command):
        marked += f"\ue000{len(expressions)}\ue001" if is_expression else piece
        expressions += [piece] if is_expression else []
    marked = re.sub(r"(?:\s*(?:[12]?>\s*/dev/null|2>&1))+\s*(?=&?\s*$)", "", marked)
    if shell and _UNREAD.search(command):
        raise Unclear("its answer goes to /dev/null, and the line reads it")
    marked, unwaited = re.subn(r"(?<![>&])&\s*$", "", marked)
    if not _COMMAND.fullmatch(marked):
        raise Unclear(
            "the shell reads other commands, $, backquotes or patterns in it before curl does"
        )

    def back(text: str) -> str:
        return re.sub("\ue000(\\d+)\ue001", lambda match: expressions[int(match[1])], text)

    request = _request([back(word) for word in shlex.split(marked)[1:]], resolve)
    request.reply, request.by_shell, request.unwaited = reply, True, unwaited > 0
    return request


def unreplaced(given: encoding.Given) -> encoding.Given:
    """*given*, which refuses values of which the shell would make others."""

    def values(name: str, anywhere: bool) -> list[str]:
        found = given(name, anywhere)
        if any(_REPLACED.search(literal(value)) for value in found):
            raise Unclear(
                f"${{{name}}} holds what the shell reads first: $, backquotes, backslashes"
            )
        return found

    return values


def _request(words: list[str], resolve: Resolve) -> ApiRequest:
    address = login = ""
    insecure = False
    plain: list[str] = []
    form: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, attached = word.partition("=") if word.startswith("--") else (word, "", "")
        if word in ("-k", "--insecure", "-sk", "-ks"):
            insecure = True
        elif word in _SILENT or word in ("-G", "--get"):
            pass
        elif name in _VALUES or name in _FORM | {"--data-urlencode", "-u", "--user", "--url"}:
            given = attached if equals else next(rest, "")
            if name in ("-u", "--user"):
                login = given
            elif name == "--url":
                address = given
            elif name == "--data-urlencode" and _PARAMETER.match(given):
                plain.append(given)
            elif name in _FORM and not given.startswith("@"):
                form.append(given)
            elif not re.fullmatch(_VALUES.get(name, r"(?!)"), given, re.IGNORECASE):
                raise Unclear(_TOO_MUCH.format(name))
        elif word.startswith("-") or address:
            raise Unclear(_TOO_MUCH.format(_option(word) if word[0] == "-" else "another word"))
        else:
            address = word
    address, _, query = address.partition("?")
    url, user, password = read_url(address, resolve)
    if login:
        known = resolve(login)
        if known is None or _REPLACED.search(known):
            raise Unclear("the user of the curl command cannot be resolved: write it out")
        user, _, password = known.partition(":")
    form += [query] if query else []
    if form and plain:
        raise Unclear(_TOO_MUCH.format("both --data and --data-urlencode"))
    if form:
        return ApiRequest(url, encoding.fields("&".join(form)), user, password, insecure=insecure)
    fields = dict(each.split("=", 1) for each in plain)
    if len(fields) < len(plain):
        raise Unclear("the request has a parameter twice: leave one")
    return ApiRequest(url, fields, user, password, encoded=False, insecure=insecure)


def _option(word: str) -> str:
    """The option's name alone: a value that is written onto it may be a password."""
    found = re.match(r"--[a-z0-9.-]*|-[sSfvLGk]*.?", word)
    return found[0] if found else "an option"
