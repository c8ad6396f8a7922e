"""The curl line of a gateway's manual, read and never run: what is asked of the gateway.

``{MESSAGE}`` and the other placeholders stay in it until an SMS goes out (routes/curl.py).
"""

import base64
import json
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

from dialplan_sms.config import values
from dialplan_sms.config.parser import Place, Value, refuse
from dialplan_sms.config.values import Bad, must

API = re.compile(r"/api/v1/ori?ginate/sms/?", re.IGNORECASE)
"""Where a PBX has its SMS API; the oldest versions of the vendor's page misspell it."""
HOLDER = re.compile(r"(\{(?:TO_NUMBER|TO_DIGITS|MESSAGE|GSM|ID)\})")
_ANY_HOLDER = re.compile(r"\{[A-Z_]{2,}\}")
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?')  # of JSON; a colon follows a member's name
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110: method, name of a header
_IN_TARGET = "/:?@!$&'()*+,;=%[]~"  # stay as they are in a URL
_SECRET = re.compile(r"(?i)pass|pwd|pin|key|token|secret|auth|sig|cred|hash")
_LONG = 8  # characters from which on a value of any other name may be a secret
_FORM = "application/x-www-form-urlencoded"
_OURS = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")

UNKNOWN = "unknown"
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
"""curl's options that are known, and what each is of the request: nothing if that is empty."""
_NAME = re.compile(r"--[a-z0-9.-]*|-.?")
_ALONE = ("", "insecure", "get")  # have no value
_DATA = ("data", "raw", "urlencode", "json")
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

    *target* is path and query, *head* the lines of the headers, *body* JSON or a form or None.
    *verify* is as in sms.conf, empty if the line does not say; *secrets* may not be shown.
    """

    origin: str
    method: str
    target: str = field(repr=False)
    head: str = field(repr=False)
    body: str | None = field(repr=False)
    is_json: bool
    is_api: bool
    takes_gsm: bool
    verify: str
    secrets: tuple[str, ...] = field(repr=False)


def options(
    words: Iterable[str], known: Mapping[str, str] = OPTIONS
) -> Iterator[tuple[str, str, str]]:
    """Each option of a curl command: its name, what it is of the request, and its value.

    A URL without an option has no name; of an option that is not *known* only the name is right.
    """
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            yield "", "address", word
            continue
        long = word.startswith("--")
        name, equals, value = word.partition("=") if long else (word[:2], "", word[2:])
        while value and not long and known.get(name) in _ALONE:  # as in -sk
            yield name, known[name], ""
            name, value = f"-{value[0]}", value[1:]
        kind = known.get(name, UNKNOWN)
        if kind not in (*_ALONE, UNKNOWN) and not (equals or value):
            value = next(rest, "")
        # Behind an option that nobody knows may be a password.
        yield _NAME.findall(name)[0], kind, value


def read(text: str, place: Place) -> Curl:
    """The request that *text* describes. Raises Bad."""
    must(text.isprintable(), "control characters")
    try:
        words = shlex.split(text)
    except ValueError:
        raise Bad("a quote does not close - a semicolon in it is written \\;") from None
    must(words and re.fullmatch(r"(?:.*/)?curl", words[0]), "it does not begin with curl")
    told: dict[str, list[str]] = defaultdict(list)
    data: list[str] = []
    for name, kind, value in options(words[1:]):
        cure = _CURES.get(name, "leave it out if the gateway does without")
        must(kind != UNKNOWN, f"{name} is not known here: {cure}")
        is_file = "=" not in value and "@" in value if kind == "urlencode" else value[:1] == "@"
        must(kind == "raw" or not is_file, f"{name} @file: write out what is in the file")
        if kind == "urlencode":
            before, equals, after = value.partition("=")
            value = f"{before}={_encoded(after)}" if equals else _encoded(value)
        told[kind].append(value)
        data += [value] if kind in _DATA else []
    must(not told["json"] or len(told["json"]) == len(data), "--json goes with no other data")
    must(len(told["address"]) == 1, "it needs one URL, and nothing else, as | or >, behind it")
    login = (told["login"] or [""])[-1]
    must(not login or ":" in login, "-u needs user:password")
    url = told["address"][0]
    where = urlsplit(url if "://" in url else f"http://{url}")
    must("@" not in where.netloc, "write -u user:password in place of those in the URL")
    must(not where.fragment, "its URL has a #, from which on nothing goes out")
    origin = f"{where.scheme}://{where.netloc}"
    must(
        not HOLDER.search(f"{origin}{login}"),
        "no placeholder in scheme, host, port, user, password",
    )
    values.url(origin, place)
    is_get, body = bool(told["get"]), ("" if told["json"] else "&").join(data)
    query = "&".join(filter(None, [where.query, body if is_get else ""]))
    target = _encoded(f"{where.path or '/'}{'?' if query else ''}{query}", _IN_TARGET)
    has_body = bool(data) and not is_get
    head = _headers(told["header"], bool(told["json"]), has_body, login)
    kind = head.get("content-type", "").partition(":")[2].strip().lower() if has_body else ""
    found = _check_places(query, body if has_body else "", kind)
    used = set(HOLDER.findall(text))
    must(
        "{MESSAGE}" in used and used & {"{TO_NUMBER}", "{TO_DIGITS}"},
        "it needs {MESSAGE}, and {TO_NUMBER} or {TO_DIGITS}",
    )
    must(
        not _ANY_HOLDER.search(HOLDER.sub("", text)),
        "no such placeholder: there are {TO_NUMBER}, {TO_DIGITS}, {MESSAGE}, {GSM} and {ID}",
    )
    method = (told["method"] or ["POST" if has_body else "GET"])[-1]
    must(_TOKEN.fullmatch(method) and not HOLDER.search(method), "-X needs a method, as POST")
    is_api = bool(API.fullmatch(where.path))
    found += [("", part) for part in where.path.split("/") if not is_api]
    found += [("password", login.partition(":")[2])]
    for name in head.keys() - {"accept", "content-type"}:
        said = head[name].partition(": ")[2]
        found += [(name, said), *((name, word) for word in said.split()[1:])]
    secrets = {
        piece
        for name, value in found
        for piece in HOLDER.sub("\0", value).split("\0")
        if len(piece) >= _LONG or _SECRET.search(name)
    }
    secrets |= {unquote_plus(piece) for piece in secrets}
    verify = "no" if told["insecure"] else ""
    verify = values.existing(told["cacert"][-1], place) if told["cacert"] and not verify else verify
    return Curl(
        origin, method, target, "".join(f"{line}\r\n" for line in head.values()),
        body if has_body else None, "json" in kind, is_api, "{GSM}" in used, verify,
        tuple(sorted(secrets, key=len, reverse=True)),  # one may hold another
    )  # fmt: skip


def _encoded(text: str, safe: str = "") -> str:
    """*text* percent-encoded, but for its placeholders."""
    return "".join(
        piece if HOLDER.fullmatch(piece) else quote(piece, safe) for piece in HOLDER.split(text)
    )


def _headers(given: Iterable[str], is_json: bool, has_body: bool, login: str) -> dict[str, str]:
    """The lines of the headers by their names in small letters; those *given* before curl's own."""
    kind = "application/json" if is_json else _FORM
    lines = {"accept": f"Accept: {kind if is_json else '*/*'}"}
    if has_body:
        lines["content-type"] = f"Content-Type: {kind}"
    if login:
        who = base64.b64encode(login.encode()).decode()
        lines["authorization"] = f"Authorization: Basic {who}"
    for header in given:
        name, _, value = header.partition(":")
        must(_TOKEN.fullmatch(name) and value.strip(), '-H needs "Name: value"')
        own = next((each for each in _OURS if each == name.lower()), "")
        must(not own, f"-H {own}: dialplan-sms writes that header itself, leave it out")
        lines[name.lower()] = f"{name}: {value.strip()}"
    return lines


def _check_places(query: str, body: str, kind: str) -> list[tuple[str, str]]:
    """Names and values in *query* and *body*, whose Content-Type is *kind*.

    A placeholder stands in one of them: a text must not become the name of another. Raises Bad.
    """
    pairs, found, name = query.split("&"), list[tuple[str, str]](), ""
    named = "a placeholder stands as a name: it can be a value only, as text={MESSAGE}"
    if "json" in kind:
        try:
            json.loads(body)
        except ValueError:
            raise Bad(
                'its JSON cannot be read - a placeholder stands in a string, as "{MESSAGE}"'
            ) from None
        for string, colon in _STRING.findall(body):
            must(not (colon and HOLDER.search(string)), named)
            name = string if colon else name
            found += [] if colon else [(name, string[1:-1]), (name, json.loads(string))]
    elif kind.startswith(_FORM):
        must(body[:1] not in ("{", "["), 'for JSON, add -H "Content-Type: application/json"')
        pairs += body.split("&")
    else:
        must(
            not HOLDER.search(body), "placeholders stand in a form or in JSON, and in no other data"
        )
        found.append(("", body))
    for name, _, value in (pair.partition("=") for pair in pairs):
        must(not HOLDER.search(name), named)
        found.append((name, value))
    return found


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
    more: dict[str, Any] = {"url": line.origin}
    if line.verify and "verify" not in own:
        more["verify"] = line.verify
    if not line.takes_gsm:
        more["gsm"] = None
    if not fields.get("separator"):
        more["batch"] = 1  # what became of a number is on the disk before the next goes out
    return {**fields, **more}
