"""No password shows in what migrate prints."""

import re
from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import quote

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

# What comes before a password, and the password. Where its end is not sure, more is hidden.
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
