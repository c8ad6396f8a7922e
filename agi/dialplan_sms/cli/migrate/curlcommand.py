"""``System(curl …)`` as the vendor's page has it for the shell (sms-api: From the shell)."""

import re
import shlex

from dialplan_sms.cli.migrate import value
from dialplan_sms.cli.migrate.expression import parts, resolve
from dialplan_sms.cli.migrate.recipe import Literals, Lookup, Request, build, read_url
from dialplan_sms.cli.migrate.value import Incomplete, Unclear

_APP = re.compile(r"(?:Try)?System\((.*)\)", re.IGNORECASE | re.DOTALL)
_SILENT = {"-s", "-S", "-sS", "--silent", "--show-error", "-f", "--fail", "-v", "-L", "--location"}
_IGNORED = {"-m", "--max-time", "--connect-timeout", "-o", "--output", "--retry", "-H", "--header"}
_DATA = {"-d", "--data", "--data-raw", "--data-ascii", "--data-urlencode"}
_TOO_MUCH = "System(curl …) is not converted with {}: use Set(SMS_…) and Gosub(sub-sms,s,1)"


def is_command(app: str) -> bool:
    """Whether *app* starts the program curl."""
    return re.match(r"(?i)(?:Try)?System\(\s*(?:/usr/bin/)?curl\s", app) is not None


def read(app: str, lookup: Lookup, literals: Literals) -> Request:
    """The request of ``System(curl …)``. Raises Unclear."""
    found = _APP.fullmatch(app)
    if found is None:
        raise Incomplete("the application's closing bracket is missing")
    expressions: list[str] = []
    command = ""
    for is_expression, piece in parts(found[1]):
        command += f"\ue000{len(expressions)}\ue001" if is_expression else piece
        expressions += [piece] if is_expression else []
    command = re.sub(r"(?:\s*(?:[12]?>\s*/dev/null|2>&1|&))+\s*$", "", command)
    try:
        words = shlex.split(command)
    except ValueError:
        raise Incomplete("a quote of the curl command does not end") from None
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|<>`&;")
    if any(word and set(word) <= set("|<>`&;") for word in lexer):
        raise Unclear(_TOO_MUCH.format("other commands or redirections"))

    def back(text: str) -> str:
        return re.sub("\ue000(\\d+)\ue001", lambda match: expressions[int(match[1])], text)

    return _request([back(word) for word in words[1:]], lookup, literals)


def _option(word: str) -> str:
    """The option's name alone: a value that is written onto it may be a password."""
    found = re.match(r"--[a-z0-9.-]*|-[sSfvLGk]*.?", word)
    return found[0] if found else "an option"


def _request(words: list[str], lookup: Lookup, literals: Literals) -> Request:
    address = login = ""
    insecure = False
    plain: dict[str, str] = {}
    form: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, attached = word.partition("=") if word.startswith("--") else (word, "", "")
        if word in ("-k", "--insecure", "-sk", "-ks"):
            insecure = True
        elif word in _SILENT or word in ("-G", "--get"):
            pass
        elif name in _IGNORED | _DATA | {"-X", "--request", "-u", "--user", "--url"}:
            given = attached if equals else next(rest, "")
            if name in ("-u", "--user"):
                login = given
            elif name == "--url":
                address = given
            elif name == "--data-urlencode" and given.partition("=")[0] in value.KNOWN:
                plain[given.partition("=")[0]] = given.partition("=")[2]
            elif name in _DATA - {"--data-urlencode"} and not given.startswith("@"):
                form.append(given)
            elif name in _DATA or given.lower().startswith("authorization"):
                raise Unclear(_TOO_MUCH.format(name))
        elif word.startswith("-") or address:
            raise Unclear(_TOO_MUCH.format(_option(word) if word[0] == "-" else "another word"))
        else:
            address = word
    address, _, query = address.partition("?")
    url, user, password = read_url(address, lookup)
    if login:
        known = resolve(login, lookup)
        if known is None:
            raise Unclear("the user of the curl command cannot be resolved: write it out")
        user, _, password = known.partition(":")
    form += [query] if query else []
    if form and plain:
        raise Unclear(_TOO_MUCH.format("both --data and --data-urlencode"))
    if form:
        return build(
            url, user, password, value.fields("&".join(form)), literals,
            insecure=insecure, reply="SYSTEMSTATUS",
        )  # fmt: skip
    if not plain.get("number", "").strip() or not plain.get("message", "").strip():
        raise Unclear("the request has no number or no message")
    return build(
        url, user, password, plain, literals,
        encoded=False, insecure=insecure, reply="SYSTEMSTATUS",
    )  # fmt: skip
