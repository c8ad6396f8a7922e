"""The curl line of a gateway's manual, read and never run: what is asked of the gateway.

``{MESSAGE}`` and the other placeholders stay in it until an SMS goes out (routes/curl.py).
"""

import base64
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from getopt import GetoptError, gnu_getopt
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

from dialplan_sms import __version__
from dialplan_sms.config import values
from dialplan_sms.config.parser import Place, Value, refuse
from dialplan_sms.config.values import Bad, must

# Where a PBX has its SMS API; the oldest versions of the vendor's page misspell it.
API = re.compile(r"/api/v1/ori?ginate/sms/?", re.IGNORECASE)
HOLDER = re.compile(r"(\{(?:TO_NUMBER|TO_DIGITS|MESSAGE|GSM|ID)\})")
# A string or number of JSON; a colon follows a member's name.
_VALUE = re.compile(r'("(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*)(\s*:)?')
# JSON or XML within a value, for which nothing is encoded.
_NESTED = re.compile(r'[\s\[{]*[\[{]\s*"|\s*<.*</')
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110: method, name of a header
_IN_TARGET = "/:?@!$&'()*+,;=%[]~"  # stay as they are in a URL
_SECRET = re.compile(r"(?i)pass|pw|pin|key|token|secret|auth|sig|cred|hash|code")
_LONG = 8  # characters from which on a value of any other name may be a secret
_FORM = "application/x-www-form-urlencoded"
_PUBLIC = ("user-agent", "accept", "content-type")
_OURS = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")

# curl's options that are known, and what each is of the request: nothing if that is empty.
OPTIONS = {
    **dict.fromkeys(("-s", "-S", "-f", "-v"), ""),
    **dict.fromkeys(("--silent", "--show-error", "--fail", "--verbose"), ""),
    **dict.fromkeys(("-m", "--max-time", "--connect-timeout"), "time"),
    **dict.fromkeys(("-k", "--insecure"), "insecure"), **dict.fromkeys(("-G", "--get"), "get"),
    **dict.fromkeys(("-X", "--request"), "method"), **dict.fromkeys(("-u", "--user"), "login"),
    **dict.fromkeys(("-H", "--header"), "header"), "--cacert": "cacert", "--url": "address",
    **dict.fromkeys(("-d", "--data", "--data-ascii", "--data-binary"), "data"),
    "--data-raw": "raw", "--data-urlencode": "urlencode", "--json": "json",
}  # fmt: skip
_ALONE = ("", "insecure", "get")  # have no value
_CURES = {
    **dict.fromkeys(("-K", "--config"), "write what is in that file into the line"),
    **dict.fromkeys(("-F", "--form", "--form-string"), "write --data-urlencode in its place"),
    **dict.fromkeys(("-x", "--proxy"), "the gateway must be in reach without one"),
    **dict.fromkeys(("-L", "--location"), "write the URL to which the gateway redirects"),
    **dict.fromkeys(("-n", "--netrc", "--netrc-file"), "write -u user:password"),
    "--pinnedpubkey": "use verify = sha256: and the fingerprint of the certificate",
}


@dataclass(frozen=True, slots=True)
class Curl:
    """A request with placeholders, each of which stands in a value.

    *head* has all its lines but Content-Length; *body* is JSON if it begins with a bracket, else a
    form, or None. *verify* is as in sms.conf, empty if the line does not say; *secrets* may not be
    shown.
    """

    origin: str
    head: str = field(repr=False)
    body: str | None = field(repr=False)
    is_api: bool
    takes_gsm: bool
    verify: str
    secrets: tuple[str, ...] = field(repr=False)


def options(words: Iterable[str], known: Mapping[str, str] = OPTIONS) -> list[tuple[str, str, str]]:
    """Each option of a curl command: its name, what it is of the request, and its value.

    A URL without an option has no name. Raises Bad, which begins with the name of an option that is
    not *known*.
    """
    ends = {name: "" if kind in _ALONE else "=" for name, kind in known.items()}
    long = [name[2:] + end for name, end in ends.items() if name[1] == "-"]
    short = "".join(name[1] + end for name, end in ends.items() if name[1] != "-")
    try:
        found, urls = gnu_getopt([*words], short.replace("=", ":"), long)
    except GetoptError as error:
        # Behind an option that nobody knows may be a password.
        name = "-" * min(2, len(error.opt)) + re.findall(r"[\w.-]*", error.opt)[0]
        cure = _CURES.get(name, "leave it out if the gateway does without")
        why = "has no value" if name in known else f"is not known here: {cure}"
        raise Bad(f"{name} {why}") from None
    # It takes a beginning of a long option, too, and gives its whole name.
    return [(name, known[name], value) for name, value in found] + [
        ("", "address", u) for u in urls
    ]


def read(text: str, place: Place) -> Curl:
    """The request that *text* describes. Raises Bad."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise Bad("a quote does not close - a semicolon in it is written \\;") from None
    must(re.fullmatch(r"(?:.*/)?curl", words[0]), "it does not begin with curl")
    told: dict[str, list[str]] = defaultdict(list, login=[""], method=[""])
    data: list[str] = []
    for name, kind, value in options(words[1:]):
        is_file = "=" not in value and "@" in value if kind == "urlencode" else value[:1] == "@"
        must(kind == "raw" or not is_file, f"{name} @file: write out what is in the file")
        told[kind].append(value)
        if kind == "urlencode":
            before = value[: value.find("=") + 1]
            value = f"{before}{_encoded(value.removeprefix(before))}"
        data += [value] if kind in ("data", "raw", "urlencode", "json") else []
    login, url = told["login"][-1], (told["address"] or [""])[0]
    where, used = urlsplit(url if "://" in url else f"http://{url}"), {*HOLDER.findall(text)}
    is_json = bool(told["json"])
    body = None if "get" in told or not data else ("" if is_json else "&").join(data)
    query = "&".join(filter(None, [where.query, *(data if "get" in told else ())]))
    method = told["method"][-1] or ("GET" if body is None else "POST")
    for fit, why in (
        (text.isprintable(), "control characters"),
        (len(told["address"]) == 1, "it needs one URL, and nothing else, as | or >, behind it"),
        (not is_json or len(told["json"]) == len(data), "--json goes with no other data"),
        (not login or ":" in login, "-u needs user:password"),
        ("@" not in where.netloc, "write -u user:password in place of those in the URL"),
        (not where.fragment, "its URL has a #, from which on nothing goes out"),
        (not HOLDER.search(f"{where.scheme}{where.netloc}{login}{method}"),
         "no placeholder in scheme, host, port, user, password, method"),
        (_TOKEN.fullmatch(method), "-X needs a method, as POST"),
        ("{MESSAGE}" in used and used & {"{TO_NUMBER}", "{TO_DIGITS}"},
         "it needs {MESSAGE}, and {TO_NUMBER} or {TO_DIGITS}"),
        (not re.search(r"\{[A-Z_]{2,}\}", HOLDER.sub("", text)),
         "no such placeholder: there are {TO_NUMBER}, {TO_DIGITS}, {MESSAGE}, {GSM} and {ID}"),
    ):  # fmt: skip
        must(fit, why)
    values.url(f"{where.scheme}://{where.netloc}", place)
    kind, who = "application/json" if is_json else _FORM, base64.b64encode(login.encode()).decode()
    head = {
        "user-agent": f"User-Agent: dialplan-sms/{__version__}",
        "accept": f"Accept: {kind if is_json else '*/*'}",
        **({} if body is None else {"content-type": f"Content-Type: {kind}"}),
        **({"authorization": f"Authorization: Basic {who}"} if login else {}),
    }
    for header in told["header"]:
        name, _, value = header.partition(":")
        must(
            _TOKEN.fullmatch(name) and value.strip() and name.lower() not in _OURS,
            f'-H needs "Name: value", and none of {", ".join(_OURS)}, which are written for it',
        )
        head[name.lower()] = f"{name}: {value.strip()}"
    kind = _FORM if body is None else head["content-type"].partition(":")[2].strip().lower()
    target = _encoded(f"{where.path or '/'}{'?' if query else ''}{query}", _IN_TARGET)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {where.netloc}", *head.values(), ""]
    is_api = bool(API.fullmatch(where.path))
    told_by = [
        *_named(query, body or "", kind), ("password", login.partition(":")[2]),
        *(("", part) for part in where.path.split("/") if not is_api),
        *((name, word) for name, line in head.items() if name not in _PUBLIC
          for word in (line.partition(": ")[2], *line.split()[2:])),
    ]  # fmt: skip
    secrets = {
        piece
        for name, value in told_by
        for literal in HOLDER.sub("\0", value).split("\0")
        for piece in (literal, unquote_plus(literal))
        if len(literal) >= _LONG or _SECRET.search(name)
    }
    verify = (
        "no"
        if "insecure" in told
        else "".join(values.existing(file, place) for file in told["cacert"][-1:])
    )
    return Curl(
        f"{where.scheme}://{where.netloc}", "\r\n".join(lines), body, is_api, "{GSM}" in used,
        verify, tuple(sorted(secrets, key=len, reverse=True)),  # one may hold another
    )  # fmt: skip


def _encoded(text: str, safe: str = "") -> str:
    """*text* percent-encoded, but for its placeholders."""
    return "".join(
        piece if HOLDER.fullmatch(piece) else quote(piece, safe) for piece in HOLDER.split(text)
    )


def _named(query: str, body: str, kind: str) -> list[tuple[str, str]]:
    """Names and values in *query* and *body*, whose Content-Type is *kind*.

    A placeholder stands in a value: a text must not become the name of another. Raises Bad.
    """
    pairs = [pair.partition("=")[::2] for pair in query.split("&")]
    begins, name = body.lstrip()[:1], ""
    if "json" in kind:
        try:
            json.loads(body)
        except ValueError:
            begins = ""
        must(
            begins and begins in "{[",
            'its JSON cannot be read - a placeholder stands in a string, as "{MESSAGE}"',
        )
        for value, colon in _VALUE.findall(body):
            name = value if colon else name
            said = "" if colon else value.removeprefix('"').removesuffix('"')
            pairs += [(name, said), (name, said and str(json.loads(value)))]
    elif kind.startswith(_FORM):
        must(begins not in ("{", "["), 'for JSON, add -H "Content-Type: application/json"')
        pairs += [pair.partition("=")[::2] for pair in body.split("&")]
    else:
        must(not HOLDER.search(body), "placeholders stand in a form or in JSON, and nowhere else")
        pairs.append(("", body))
    must(
        not any(HOLDER.search(name) for name, _ in pairs),
        "a placeholder stands as a name: it can be a value only, as text={MESSAGE}",
    )
    must(
        not any(
            HOLDER.search(value) and _NESTED.match(HOLDER.sub("", unquote_plus(value)))
            for _, value in pairs
        ),
        "a placeholder stands in JSON or XML within a value, from which a text could break out",
    )
    return pairs


def complete(fields: Mapping[str, Any], own: Mapping[str, Value], where: str) -> dict[str, Any]:
    """The *fields* of a Sender with what follows from its line; *own* is what its section has.

    Raises ConfigError.
    """
    line: Curl = fields["curl"]
    refuse(
        not (line.is_api or fields.get("success")),
        f"{where} needs success: what is found in an answer to an SMS that was taken, as"
        " success = ^OK",
    )
    refuse(
        fields.get("postpone") == "pbx",
        f"{where}: postpone = pbx needs url: a gateway of curl keeps no SMS for later, set"
        " postpone = here",
    )
    return {
        **fields,
        "url": line.origin,
        **({"verify": line.verify} if line.verify and "verify" not in own else {}),
        **({} if line.takes_gsm else {"gsm": None}),
        # What became of a number is on the disk before the next goes out.
        **({} if fields.get("separator") else {"batch": 1}),
    }
