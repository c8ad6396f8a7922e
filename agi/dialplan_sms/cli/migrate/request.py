"""What one step asks of the SMS API: ``${CURL(…)}``."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from dialplan_sms.cli.migrate import encoding
from dialplan_sms.cli.migrate.expression import Unclear, closing, split
from dialplan_sms.cli.migrate.variables import API

REPLY = "_sms_reply_"
"""Stands for the variable of a reply that went into none."""

_URL = re.compile(r"(?:(https?)://)?(?:([^/@]*)@)?([^/?#@\s]+)([^?#\s]*)", re.IGNORECASE)
_SET = re.compile(
    r"Set\([ \t]*(?:GLOBAL\(|LOCAL\()?_{0,2}(\w+)\)?[ \t]*="
    r'"?[ \t]*\$\{_sms_reply_\}[ \t]*"?[ \t]*\)',
    re.IGNORECASE,
)
_EXEC_IF = re.compile(rf"ExecIf\((.*)\?[ \t]*({_SET.pattern})\)", re.IGNORECASE)
_CURL = re.compile(r"\$\{CURL\(", re.IGNORECASE)
_WHOLE = re.compile(r"\s*(\$\{(?:GLOBAL\()?\w+\)?\})\s*")
_LONGEST = 8000

Resolve = Callable[[str], str | None]


@dataclass(slots=True)
class ApiRequest:
    """An SMS as the dialplan asked for it; *fields* are the parameters of the form, undecoded.

    *url* is as in sms.conf. *user* is empty if CURLOPT(userpwd) has it. *encoded* is whether the
    fields are form-encoded. *reply* is the variable of the API's answer, *condition* that of an
    ExecIf, *tail* the application around it, with ``${_sms_reply_}`` for the answer. *unwaited*
    is whether the dialplan went on at once.
    """

    url: str
    fields: dict[str, str] = field(repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    encoded: bool = True
    insecure: bool = False
    by_shell: bool = False
    unwaited: bool = False
    reply: str = ""
    condition: str = ""
    tail: str = ""

    def values(self, given: encoding.Given) -> dict[str, str]:
        """The values of Set(SMS_…). Raises Unclear."""
        for needed in ("number", "message"):
            if not self.fields.get(needed, "").strip():
                raise Unclear(f"the request has no {needed}")
        values = {
            name: encoding.written(name, self.fields[name], given, self.encoded)
            for name in encoding.PARAMETERS
            if self.fields.get(name, "").strip()
        }
        if any(len(each.encode("utf-8", "replace")) > _LONGEST for each in values.values()):
            raise Unclear("the text is longer than Asterisk takes in one line")
        return values


def read(app: str, resolve: Resolve) -> ApiRequest:
    """The request of an application with a ``${CURL(…)}``. Raises Unclear."""
    found = _CURL.search(app)
    if found is None:
        raise Unclear("a way to the SMS API that is not known: neither CURL() nor System(curl …)")
    end = closing(app, found.start())
    if end < 0 or app[end - 2] != ")":
        # A brace in the text: the last one is the function's.
        end = app.rfind(")}") + 2
        if end < found.end():
            raise Unclear("the expression does not end: )} is missing")
    inner, around = app[found.end() : end - 2], f"{app[: found.start()]}${{{REPLY}}}{app[end:]}"
    if _CURL.search(inner) or _CURL.search(around):
        raise Unclear("several CURL() in one line: give each a line of its own")
    if not re.fullmatch(r"\w+\(.*\)", around):
        raise Unclear("the application's closing bracket is missing, or something follows it")
    head, *rest = split(_written_out(inner, resolve), ",")
    address, _, query = head.partition("?")
    url, user, password = read_url(address, resolve)
    if "message=" in query:
        # A comma in a text that nobody encoded: all of it was to be the query.
        body = ",".join([query, *rest])
    else:
        body = "&".join(filter(None, [query, _written_out(",".join(rest), resolve)]))
    reply, condition, tail = _around(around)
    return ApiRequest(
        url, encoding.fields(body), user, password, reply=reply, condition=condition, tail=tail
    )


def read_url(address: str, resolve: Resolve) -> tuple[str, str, str]:
    """The url as sms.conf has it, and the user and password in it. Raises Unclear."""
    named = resolve(address.strip().strip('"'))
    if named is None:
        shown = re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", address.strip())[:80]
        raise Unclear(f"the URL {shown} cannot be resolved: write it out")
    found = _URL.fullmatch(named)
    if found is None or not API.fullmatch(found[4]):
        raise Unclear("the URL is not that of the SMS API")
    user, _, password = (found[2] or "").partition(":")
    scheme = (found[1] or "http").lower()
    return f"{scheme}://{found[3].lower()}", unquote(user), unquote(password)


def _written_out(text: str, resolve: Resolve) -> str:
    """*text*, or what it holds if it is one variable as a whole."""
    variable = _WHOLE.fullmatch(text)
    if variable is None:
        return text
    held = resolve(variable[1])
    if held is None:
        raise Unclear(f"the request stands in {variable[1]}: write it into CURL()")
    return held


def _around(around: str) -> tuple[str, str, str]:
    """The reply's variable, the condition, and the application that is kept."""
    plain = _SET.fullmatch(around)
    if plain:
        return plain[1], "", ""
    conditional = _EXEC_IF.fullmatch(around)
    if conditional and "?" not in conditional[1]:
        return conditional[3], conditional[1], ""
    return "", "", around
