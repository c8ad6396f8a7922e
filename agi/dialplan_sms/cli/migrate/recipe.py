"""What one step asks of the SMS API."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from dialplan_sms.cli.migrate import value
from dialplan_sms.cli.migrate.expression import closing, resolve, split
from dialplan_sms.cli.migrate.value import Incomplete, Unclear

API = re.compile(r"/api/v1/ori?ginate/sms/?", re.IGNORECASE)
"""Where the API is; the oldest versions of the vendor's page misspell it."""
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

_VARIABLE = re.compile(r"\$\{(?:URIDECODE\(\$\{)?(?:GLOBAL\()?(\w+)\)?\}")

_LONGEST = 8000

Lookup = Callable[[str], str | None]
Literals = value.Literals


@dataclass(frozen=True, slots=True)
class Request:
    """An SMS as the dialplan writes it: *values* are those of Set(SMS_…).

    *url* is as in sms.conf. *user* is empty where CURLOPT(userpwd) has it. *reply* is the variable
    of the API's answer, *condition* that of an ExecIf, *tail* the application around it, with
    ``${_sms_reply_}`` for the answer. *national* is a number without its country's code, *varying*
    one from a variable, which may be without it.
    """

    url: str
    values: dict[str, str] = field(repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    insecure: bool = False
    reply: str = ""
    condition: str = ""
    tail: str = ""
    national: str = ""
    varying: str = ""


def calls_curl(app: str) -> bool:
    """Whether CURL() or the program curl is used at all."""
    return re.search(r"\bCURL\(|\bcurl\s", app, re.IGNORECASE) is not None


def is_sms(app: str, lookup: Lookup) -> bool:
    """Whether *app* calls the SMS API, as far as can be seen."""
    if API.search(app):
        return True
    found = _CURL.search(app)
    if found is None:
        return False
    url, _, body = app[found.end() :].partition(",")
    named = resolve(url.partition("?")[0].strip(" )}"), lookup)
    if named is not None:
        return API.search(named) is not None
    return (
        "${" in url and re.search(r"message=[^\0]*number=|number=[^\0]*message=", body) is not None
    )


def read(app: str, lookup: Lookup, literals: Literals) -> Request:
    """The request of an application with a ``${CURL(…)}``. Raises Unclear."""
    found = _CURL.search(app)
    if found is None:
        raise Unclear("SMS API, but neither ${CURL(…)} nor System(curl …)")
    end = closing(app, found.start())
    if end < 0 or app[end - 2] != ")":
        # A brace in the text: the last one is the function's.
        end = app.rfind(")}") + 2
        if end < found.end():
            raise Incomplete("the expression does not end: )} is missing")
    inner, around = app[found.end() : end - 2], f"{app[: found.start()]}${{{REPLY}}}{app[end:]}"
    if _CURL.search(inner) or _CURL.search(around):
        raise Unclear("several CURL() in one line: give each a line of its own")
    if not re.fullmatch(r"\w+\(.*\)", around):
        raise Incomplete("the application's closing bracket is missing, or something follows it")
    head, *rest = split(inner, ",")
    address, _, query = head.partition("?")
    url, user, password = read_url(address, lookup)
    if "message=" in query:
        # A comma in a text that nobody encoded: all of it was to be the query.
        body = ",".join([query, *rest])
    else:
        body = "&".join(filter(None, [query, _body(",".join(rest), lookup)]))
    reply, condition, tail = _around(around)
    return build(
        url, user, password, value.fields(body), literals,
        reply=reply, condition=condition, tail=tail,
    )  # fmt: skip


def build(
    url: str,
    user: str,
    password: str,
    given: dict[str, str],
    literals: Literals,
    *,
    encoded: bool = True,
    insecure: bool = False,
    reply: str = "",
    condition: str = "",
    tail: str = "",
) -> Request:
    """The Request of these parameters."""
    values = {
        name: value.written(name, given[name], literals, encoded)
        for name in ("number", "message", "gsm", "postpone")
        if given.get(name, "").strip()
    }
    if any(len(each.encode("utf-8", "replace")) > _LONGEST for each in values.values()):
        raise Unclear("the text is longer than Asterisk takes in one line")
    number = values["number"]
    literal = "$" not in number and all(
        item.strip()[:1] == "+" or item.strip()[:2] == "00" for item in number.split(",")
    )
    return Request(
        url, values, user, password, insecure, reply, condition, tail,
        national="" if literal or "$" in number else number,
        varying=next((item for item in split(number, ",") if _may_lack_code(item, literals)), ""),
    )  # fmt: skip


def _may_lack_code(item: str, literals: Literals) -> bool:
    """Whether a number begins with a variable that is not always given one with + or 00."""
    if not item.strip().startswith("$"):
        return False
    name = _VARIABLE.match(item.strip())
    given = literals(name[1]) if name else []
    return not given or not all(
        value.given_literally(each).startswith(("+", "00")) for each in given
    )


def read_url(address: str, lookup: Lookup) -> tuple[str, str, str]:
    """The url as sms.conf has it, and the user and password in it. Raises Unclear."""
    named = resolve(address.strip().strip('"'), lookup)
    if named is None:
        raise Unclear(f"the URL {hide(address.strip())} cannot be resolved: write it out")
    found = _URL.fullmatch(named)
    if found is None or not API.fullmatch(found[4]):
        raise Unclear("the URL is not that of the SMS API")
    user, _, password = (found[2] or "").partition(":")
    scheme = (found[1] or "http").lower()
    return f"{scheme}://{found[3].lower()}", unquote(user), unquote(password)


def hide(text: str) -> str:
    """A URL without its password."""
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", text)[:80]


def _body(text: str, lookup: Lookup) -> str:
    variable = re.fullmatch(r"\s*\$\{(\w+)\}\s*", text)
    if variable is None:
        return text
    named = lookup(f"={variable[1]}")
    if named is None:
        raise Unclear(f"the request stands in ${{{variable[1]}}}: write it into CURL()")
    return named


def _around(around: str) -> tuple[str, str, str]:
    """The reply's variable, the condition, and the application that is kept."""
    plain = _SET.fullmatch(around)
    if plain:
        return plain[1], "", ""
    conditional = _EXEC_IF.fullmatch(around)
    if conditional and "?" not in conditional[1]:
        return conditional[3], conditional[1], ""
    return "", "", around
