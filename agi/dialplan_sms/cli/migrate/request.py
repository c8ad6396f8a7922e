"""What one step asks of the SMS API: by ``${CURL(…)}``, or by the program curl."""

import re
import shlex
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from dialplan_sms.cli.migrate.dialplan import (
    NAME,
    Priority,
    Unclear,
    closing,
    literal,
    parts,
    refuse_if,
    split,
)
from dialplan_sms.cli.migrate.files import Place
from dialplan_sms.cli.migrate.flow import API
from dialplan_sms.config import curl
from dialplan_sms.config.values import Bad

PARAMETERS = ("message", "number", "gsm", "postpone")
REPLY = "_sms_reply_"  # stands for the variable of a reply that went into none
SYSTEMSTATUS = "SYSTEMSTATUS"  # the variable of System()'s outcome
REPLACED = re.compile(r"[`$\\]")  # what the shell reads first

_URL = re.compile(r"(?:(https?)://)?(?:([^/@]*)@)?([^/?#@\s]+)([^?#\s]*)", re.IGNORECASE)
_SET = re.compile(
    r"(ExecIf\((?P<condition>[^?]*)\?[ \t]*)?"
    r"Set\([ \t]*(?:GLOBAL\(|LOCAL\()?_{0,2}(?P<reply>\w+)\)?[ \t]*="
    r'"?[ \t]*\$\{_sms_reply_\}[ \t]*"?[ \t]*\)(?(1)\))',
    re.IGNORECASE,
)
_CURL = re.compile(r"\$\{CURL\(", re.IGNORECASE)
_PROGRAM = re.compile(
    r"(?:Try)?System\((?P<system>(?s:.*))\)"
    r"|Set\([ \t]*(?P<reply>\w+)[ \t]*=[ \t]*\$\{SHELL\((?P<shell>.*)\)\}[ \t]*\)",
    re.IGNORECASE,
)
_STARTS = re.compile(
    r"(?:(?:Try)?System\(|Set\(\s*\w+\s*=\s*\$\{SHELL\()\s*(?:/usr/bin/)?curl\s", re.IGNORECASE
)
_EXPRESSION = "\ud800"  # stands for an expression in a command: no file and no terminal can give it
_WORD = rf"""(?:[\w@%+=:,./{_EXPRESSION}-]|'[^']*'|"(?:[^"`$\\]|\\["\\])*")+"""
# Words that the shell hands on as they are: nothing in them that it would replace.
_COMMAND = re.compile(rf"\s*{_WORD}(?:\s+{_WORD})*\s*")
_THROWN_AWAY = re.compile(r"(?:\s*(?:[12]?>\s*/dev/null|2>&1))+\s*(?=&?\s*$)")

_ANY = "(?s:.*)"
# Of a command here, more does nothing than of a line in sms.conf; what each kind may be.
_OPTIONS = {
    **curl.OPTIONS, **dict.fromkeys(("-L", "--location", "-G", "--get"), ""),
    **dict.fromkeys(("-o", "--output"), "output"), "--data-raw": "data",
}  # fmt: skip
_ALLOWED = {
    "urlencode": f"(?:{'|'.join(PARAMETERS)})={_ANY}", "data": f"(?!@){_ANY}",
    "method": "(?i:GET|POST)", "output": "(?i:/dev/null)",
    "header": r"(?i:content-type:\s*application/x-www-form-urlencoded)",
    "json": "(?!)", "cacert": "(?!)",
}  # fmt: skip
_TOO_MUCH = "a curl command is not converted with {}"

Resolve = Callable[[str], str | None]


@dataclass(slots=True)
class Recipe:
    """A step that sends an SMS the old way; what is known of who sends and of the new values."""

    step: Priority
    url: str = ""  # as in sms.conf
    user: str = ""  # empty if CURLOPT(userpwd) has it
    password: str = field(default="", repr=False)
    fields: dict[str, str] = field(default_factory=dict, repr=False)  # of the form, undecoded
    encoded: bool = True  # form-encoded
    insecure: bool = False
    by_shell: bool = False
    mode: str = ""  # queue if the dialplan went on at once
    reply: str = ""  # the variable of the API's answer
    condition: str = ""  # of an ExecIf
    tail: str = ""  # the application around it, with ${_sms_reply_} for the answer
    values: dict[str, str] = field(default_factory=dict, repr=False)  # of Set(SMS_…)
    sender: str = ""  # the section of sms.conf by which it sends
    login: str | None = field(default=None, repr=False)  # what the CURLOPT(userpwd) says
    reason: str = ""  # why it is not converted
    reader: Place | None = None  # the line that the reason is about, if not the step's own

    def refuse(self, reason: str, reader: Place | None = None) -> None:
        """It is not converted; the first reason stays."""
        if reason and not self.reason:
            self.reason, self.reader = reason, reader


def read(step: Priority, resolve: Resolve) -> Recipe:
    """The request of *step*. Raises Unclear if it is not understood."""
    return (_of_program if _STARTS.match(step.plain) else _of_function)(step, resolve)


def _of_function(step: Priority, resolve: Resolve) -> Recipe:
    app = step.plain
    found = _CURL.search(app)
    if found is None:
        raise Unclear("a way to the SMS API that is not known: neither CURL() nor System(curl …)")
    end = closing(app, found.start())
    inner, around = app[found.end() : end - 2], f"{app[: found.start()]}${{{REPLY}}}{app[end:]}"
    refuse_if(
        (end < 0 or app[end - 2] != ")", "the expression does not end: )} is missing"),
        (_CURL.search(inner) or _CURL.search(around),
         "several CURL() in one line: give each a line of its own"),
        (not re.fullmatch(r"\w+\(.*\)", around),
         "the application's closing bracket is missing, or something follows it"),
    )  # fmt: skip
    head, *rest = split(_written_out(inner, resolve), ",")
    address, _, query = head.partition("?")
    url = _read_url(address, resolve)
    body = (
        ",".join([query, *rest])  # a comma in a text that nobody encoded: all was to be the query
        if "message=" in query
        else "&".join(filter(None, [query, _written_out(",".join(rest), resolve)]))
    )
    is_set = _SET.fullmatch(around)
    told = is_set.groupdict("") if is_set else {"reply": "", "condition": "", "tail": around}
    return Recipe(
        step, *url, fields(body), reply=told["reply"], condition=told["condition"],
        tail=told.get("tail", ""),
    )  # fmt: skip


def fields(body: str) -> dict[str, str]:
    """The parameters of a form, undecoded; an ``&`` that none of them follows is the text's."""
    found: dict[str, str] = {}
    current = ""
    for item in split(body, "&"):
        name, equals, value = item.partition("=")
        if equals and name.strip() in PARAMETERS:
            current = name.strip()
            refuse_if((current in found, f"the request has {current} twice: leave one"))
            found[current] = value
        elif current == "message":
            found[current] += f"&{item}"
        else:
            refuse_if((item.strip(), f"{name.strip()[:40]} is no parameter of the SMS API"))
    return found


def _written_out(text: str, resolve: Resolve) -> str:
    """*text*, or what it holds if it is one variable as a whole."""
    held = resolve(text.strip()) if NAME.fullmatch(text.strip()) else text
    if held is None:
        raise Unclear(f"the request stands in {text.strip()}: write it into CURL()")
    return held


def _read_url(address: str, resolve: Resolve) -> tuple[str, str, str]:
    """The url as sms.conf has it, and the user and password in it. Raises Unclear."""
    named = resolve(address.strip().strip('"'))
    if named is None:
        shown = re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", address.strip())[:80]
        raise Unclear(f"the URL {shown} cannot be resolved: write it out")
    found = _URL.fullmatch(named)
    if found is None or not API.fullmatch(found[4]):
        raise Unclear("the URL is not that of the SMS API")
    user, _, password = (found[2] or "").partition(":")
    return f"{found[1] or 'http'}://{found[3]}".lower(), unquote(user), unquote(password)


def _of_program(step: Priority, resolve: Resolve) -> Recipe:
    """The request of ``System(curl …)`` or ``Set(name=${SHELL(curl …)})``."""
    found = _PROGRAM.fullmatch(step.plain)
    if found is None:
        raise Unclear("the application's closing bracket is missing")
    command = found["system"] or found["shell"]
    marked = _THROWN_AWAY.sub("", literal(command, _EXPRESSION))
    marked, unwaited = re.subn(r"(?<![>&])&\s*$", "", marked)
    refuse_if(
        (found["reply"] and re.search(r"(?<!2)>\s*/dev/null|\s(?:-o|--output)\b", command),
         "its answer goes to /dev/null, and the line reads it"),
        (not _COMMAND.fullmatch(marked),
         "the shell reads other commands, $, backquotes or patterns in it before curl does"),
    )  # fmt: skip
    given = (piece for is_expression, piece in parts(command) if is_expression)
    words = [re.sub(_EXPRESSION, lambda _: next(given), word) for word in shlex.split(marked)]
    asked = _asked_by(words[1:])
    address, _, query = asked["address"][-1].partition("?")
    form = [*asked["data"], *filter(None, [query])]
    plain = dict(each.split("=", 1) for each in asked["urlencode"])
    reason = (
        "it did not wait for the answer (&), and the new lines would: with an outbox,"
        " Set(SMS_MODE=queue) stores the SMS at once"
    )
    made = Recipe(
        step, *_read_url(address, resolve), fields("&".join(form)) or plain, encoded=bool(form),
        insecure="insecure" in asked, by_shell=True, mode="queue" if unwaited else "",
        reply=found["reply"] or SYSTEMSTATUS, reason=reason if unwaited else "",
    )  # fmt: skip
    login = resolve(asked["login"][-1])
    if login is None or REPLACED.search(login):
        raise Unclear("the user of the curl command cannot be resolved: write it out")
    if login:
        made.user, _, made.password = login.partition(":")
    refuse_if(
        (form and plain, _TOO_MUCH.format("both --data and --data-urlencode")),
        (len(plain) < len(asked["urlencode"]), "the request has a parameter twice: leave one"),
    )
    return made


def _asked_by(words: list[str]) -> dict[str, list[str]]:
    """What the words of a curl command say, by what it is of the request. Raises Unclear."""
    asked: dict[str, list[str]] = defaultdict(list, address=[""], login=[""])
    try:
        given = curl.options(words, _OPTIONS)
    except Bad as unknown:
        raise Unclear(_TOO_MUCH.format(str(unknown).split()[0])) from None
    for name, kind, value in given:
        again = not name and asked["address"][-1]
        if again or not re.fullmatch(_ALLOWED.get(kind, _ANY), value):
            raise Unclear(_TOO_MUCH.format(name or "another word"))
        asked[kind].append(value)
    return asked
