"""Where the SMS API is used, and who sends: logins in the dialplan, and sections of sms.conf."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dialplan_sms.cli.migrate import encoding, request
from dialplan_sms.cli.migrate.dialplan import Dialplan, Priority, Unclear, literal, refuse_if
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.cli.migrate.flow import API, Flow
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.parser import Place, parse, read_private

_RESERVED = {smsconf.GENERAL, smsconf.HTTP}
_HEADER = re.compile(r"(?m)^[ \t]*\[general\][^\n]*\n")
_NAME = re.compile(r"[^\[\]:;=#\s][^\[\]:;\n\r\t]*")
_CURL = re.compile(r"\bCURL\(", re.IGNORECASE)
_OPTION = re.compile(r"Set\([ \t]*CURLOPT\((\w+)\)[ \t]*=(.*)\)", re.IGNORECASE)
_ANY_OPTION = re.compile(r"CURLOPT\((\w+)\)[ \t]*=(.*)", re.IGNORECASE)
_LOGIN = "userpwd"
_INSECURE = ("ssl_verifypeer", "ssl_verifyhost")
# Options that change neither what is asked, nor who asks, nor how the answer looks.
_HARMLESS = {
    _LOGIN, *_INSECURE, "conntimeout", "dnstimeout", "followlocation", "httptimeout", "maxredirs",
    "referer", "useragent",
}  # fmt: skip


@dataclass(slots=True)
class Senders:
    """The senders that there are in sms.conf, and those to add."""

    path: Path
    same_pbx: bool = False  # an address in the dialplan is that of its section, however written
    content: bytes | None = field(default=None, repr=False)
    there: Mapping[str, smsconf.Sender] = field(default_factory=dict)
    default: str | None = None
    new: dict[str, smsconf.Sender] = field(default_factory=dict)

    def take(self, user: str, password: str, url: str, insecure: bool) -> None:
        """See to a section for this user. Raises Unclear if another stands in its way, Bad."""
        there, known = self.there.get(user), self.new.get(user)
        another = f"[{user}] in {self.path} has another"
        refuse_if(
            (not user, "no CURLOPT(userpwd) says who sends: set it in the line before"),
            (user in _RESERVED or not _NAME.fullmatch(user),
             f"a section of sms.conf cannot be called {user[:40]}: convert by hand"),
            (not password or password != password.strip() or not password.isprintable(),
             f"the password of {user} is empty or has spaces at its ends: write sms.conf by hand,"
             " with password_file"),
            (there and API.sub("", there.url).lower().rstrip("/") != url and not self.same_pbx,
             f"{another} url than this line ({url}): if both are the same PBX, add --same-pbx"),
            (there and there.password and there.password != password,
             f"{another} password than this line: see which holds"),
            (known and known.url != url,
             f"a section has one url: [{user}] gets {known and known.url}, and this line has"
             f" {url}"),
            (known and known.password != password,
             f"another password of [{user}] stands in another line: see which holds"),
        )  # fmt: skip
        values.url(url, Place(Path(), 0))
        verify = "no" if insecure and url.startswith("https:") else "yes"
        if there is None and (known is None or verify == "no"):
            self.new[user] = smsconf.Sender(user, url, password, verify=verify)

    @property
    def several(self) -> bool:
        """Whether a line has to say which sender it means."""
        return len(self.there.keys() | self.new.keys()) > 1

    @property
    def after(self) -> bytes | None:
        """What sms.conf has with the new sections."""
        if not self.new:
            return self.content
        content = self.content or b""
        # A byte order mark stays the file's first.
        coding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
        text = content.decode(coding)
        newline = "\r\n" if "\r\n" in text else "\n"
        # What comes next would continue a last line without an end.
        text = re.sub(r"(?<=[^\n])\Z", newline, text)
        general = parse(text, self.path).get(smsconf.GENERAL)
        is_set = general and "default_sender" in general.values
        if self.several and not is_set and (self.default or not self.there):
            if not _HEADER.search(text):
                text = f"[general]{newline}{newline if text else ''}{text}"
            line = f"default_sender = {self.default or next(iter(self.new))}{newline}"
            text = _HEADER.sub(lambda header: header[0] + line, text, count=1)
        sections = "\n".join(map(_section, self.new.values())).replace("\n", newline)
        return f"{text}{newline if text else ''}{sections}".encode(coding)


def read(path: Path, same_pbx: bool = False) -> Senders:
    """The senders of the sms.conf that there is. Raises ConfigError if it cannot be used."""
    known = Senders(path, same_pbx)
    if path.exists():
        text = read_private(path, "sms.conf")
        known.content = path.read_bytes()
        if parse(text, path).keys() - _RESERVED:
            loaded = smsconf.load(path)
            known.there, known.default = loaded.senders, loaded.default_sender
    return known


def _section(sender: smsconf.Sender) -> str:
    verify = "verify = no\n" if sender.verify == "no" else ""
    text = f"[{sender.name}]\nurl = {sender.url}\npassword = {sender.password}\n{verify}"
    return text.replace(";", "\\;")


@dataclass(frozen=True, slots=True)
class Option:
    """``Set(CURLOPT(name)=value)``; *unread* is one that is written in another way."""

    step: Priority
    name: str
    value: str = field(repr=False)
    unread: bool


class Finder:
    """The requests in a tree; only *files* change. If *anonymous*, one may leave open who sends."""

    def __init__(
        self, tree: Tree, senders: Senders, files: set[Path], anonymous: bool = False
    ) -> None:
        self.tree = tree
        self.dialplan = Dialplan(tree)
        self.senders = senders
        self.files = files
        self.flow = Flow(self.dialplan)
        self._anonymous = anonymous
        self.recipes: list[request.Recipe] = []
        self.options: list[Option] = []
        self.has_other_curl = False
        for step in self.dialplan.steps:
            plain = _OPTION.fullmatch(step.plain)
            option = plain or _ANY_OPTION.search(step.plain)
            if self.flow.uses_api(step):
                try:
                    found = request.read(step, partial(self.flow.resolve, step))
                except Unclear as unclear:
                    found = request.Recipe(step, reason=str(unclear))
                self.recipes.append(found)
            elif plain is None and _CURL.search(step.plain):
                self.has_other_curl = True
            elif option:
                self.options.append(Option(step, option[1].lower(), option[2], plain is None))
        self.logins = [option for option in self.options if option.name == _LOGIN]

    def check(self, found: request.Recipe) -> None:
        """Refuse a request that is not understood wholly, and see who sends it."""
        try:
            found.values = encoding.values(found.fields, partial(self.given, found), found.encoded)
        except Unclear as unclear:
            found.refuse(str(unclear))
        except RecursionError:
            found.refuse("its values stand in each other too deep to be followed")
        try:
            self._see_who_sends(found)
        except Unclear as unclear:
            found.refuse(str(unclear))
        except values.Bad:
            found.refuse(f"{found.url[:80]} is no address that sms.conf takes")

    def given(self, found: request.Recipe, name: str, anywhere: bool) -> list[str]:
        """All values that a variable may have there; a shell must not make others of them."""
        held = self.flow.values(found.step, name, anywhere)
        if found.by_shell and any(request.REPLACED.search(literal(value)) for value in held):
            raise Unclear(
                f"${{{name}}} holds what the shell reads first: $, backquotes, backslashes"
            )
        return held

    def _see_who_sends(self, found: request.Recipe) -> None:
        step, user, password, insecure = found.step, found.user, found.password, found.insecure
        if not found.by_shell:
            unknown = [option for option in self.options if option.name not in _HARMLESS]
            others, logins = (self._reaching(step, each)[0] for each in (unknown, self.logins))
            refuse_if(
                *((True, f"CURLOPT({other.name}) above it has no counterpart in sms.conf")
                  for other in others),
                (user and any(option.value != f"{user}:{password}" for option in logins),
                 "both its URL and CURLOPT(userpwd) say who sends: leave one"),
            )  # fmt: skip
            checked = (self.flow.exact(step, f"curlopt({name})") for name in _INSECURE)
            insecure = any(each in ("0", "no", "false", "off") for each in checked)
        if not user:
            if self._anonymous and not self.logins:
                return
            found.login, known = self._login(step)
            user, _, password = known.partition(":")
        if not found.reason:
            self.senders.take(user, password, found.url, insecure)
        found.sender = user

    def _reaching(self, step: Priority, options: list[Option]) -> tuple[list[Option], bool]:
        """Those of the *options* that hold at *step*, and whether there may be others."""
        named = {option.step: option for option in options}
        steps, elsewhere = self.flow.reaching(step, named.__contains__)
        return [named[above] for above in steps], elsewhere

    def _login(self, step: Priority) -> tuple[str, str]:
        """CURLOPT(userpwd) on every way to *step*, as written and as meant. Raises Unclear."""
        options, elsewhere = self._reaching(step, self.logins)
        if elsewhere:
            names = {_LOGIN} if options else {_LOGIN, "httpheader", "cookie"}
            options += [option for option in self.options if option.name in names]
        logins = {self.flow.resolve(option.step, option.value) for option in options}
        known = next(iter(logins), None)
        refuse_if(
            (not options, "no CURLOPT(userpwd) says who sends"),
            (any(option.unread or option.name != _LOGIN for option in options),
             "the CURLOPT(userpwd) that says who sends cannot be read: write it as"
             " Set(CURLOPT(userpwd)=USER:PASSWORD), with \\; for a semicolon"),
            (len(logins) > 1,
             "several CURLOPT(userpwd) may say who sends: set it in this extension, above"),
            (known is None, "the value of CURLOPT(userpwd) cannot be resolved: write it out"),
        )  # fmt: skip
        return options[0].value, known or ""
