"""What goes to sms.conf: a section for each user, never in place of one that is there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.migrate.expression import Unclear
from dialplan_sms.cli.migrate.variables import API
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.config import Config, Sender
from dialplan_sms.config.parser import Place, parse, read_private

_RESERVED = (smsconf.GENERAL, smsconf.HTTP)


@dataclass(slots=True)
class Senders:
    """The senders that there are, and those to add.

    *same_pbx* is whether an address in the dialplan is that of the section that is there, however
    either is written.
    """

    path: Path
    text: str | None = field(default=None, repr=False)
    there: dict[str, Sender] = field(default_factory=dict)
    default: str | None = None
    sections: tuple[str, ...] = ()
    default_set: bool = False
    new: dict[str, Sender] = field(default_factory=dict)
    same_pbx: bool = False

    def take(self, user: str, password: str, url: str, insecure: bool) -> None:
        """See to a section for this user. Raises Unclear if another stands in its way."""
        _check(user, password, url, self.path)
        there = self.there.get(user)
        if there is not None:
            if _bare(there.url) != url and not self.same_pbx:
                raise Unclear(
                    f"[{user}] in {self.path} has another url than this line ({url}): if both"
                    " are the same PBX, add --same-pbx"
                )
            if there.password and there.password != password:
                raise Unclear(
                    f"[{user}] in {self.path} has another password than this line: see which holds"
                )
            return
        if user in self.sections:
            raise Unclear(f"[{user}] in {self.path} is no sender")
        known = self.new.get(user)
        if known and known.url != url:
            raise Unclear(
                f"a section has one url: [{user}] gets {known.url}, and this line has {url}"
            )
        if known and known.password != password:
            raise Unclear(f"another password of [{user}] stands in another line: see which holds")
        verify = "no" if insecure and url.startswith("https:") else "yes"
        if known is None or verify == "no":
            self.new[user] = Sender(user, url, password, verify=verify)

    @property
    def several(self) -> bool:
        """Whether a line has to say which sender it means."""
        return len(self.there.keys() | self.new.keys()) > 1

    @property
    def after(self) -> str | None:
        """The text of sms.conf with the new sections; None if there are none."""
        if not self.new:
            return None
        before, first = self.text or "", next(iter(self.new))
        newline = "\r\n" if "\r\n" in before else "\n"
        if before and not before.endswith("\n"):
            before += newline  # or what comes next would continue its last line
        default = self.default or first
        if not self.default_set and self.several and (self.default or not self.there):
            line = f"default_sender = {default}{newline}"
            general = re.search(r"(?m)^\ufeff?[ \t]*\[general\][^\n]*\n", before)
            if general:
                before = before[: general.end()] + line + before[general.end() :]
            else:
                rest = before.removeprefix("\ufeff")
                mark = before[: len(before) - len(rest)]  # which stays the first of the file
                before = f"{mark}[general]{newline}{line}{newline if rest else ''}{rest}"
        return before + "".join(
            (newline if before or number else "") + _section(sender).replace("\n", newline)
            for number, sender in enumerate(self.new.values())
        )


def read(path: Path, same_pbx: bool = False) -> Senders:
    """The senders of the sms.conf that there is. Raises ConfigError if it cannot be used."""
    if not path.exists():
        return Senders(path, same_pbx=same_pbx)
    sections = parse(read_private(path, "sms.conf"), path).values()
    with path.open(encoding="utf-8", newline="") as file:
        text = file.read()  # with its BOM and line endings
    general: Mapping[str, object] = next(
        (section.values for section in sections if section.name == smsconf.GENERAL), {}
    )
    names = tuple(section.name for section in sections if section.name not in _RESERVED)
    loaded: Config | None = smsconf.load(path) if names else None
    return Senders(
        path,
        text,
        dict(loaded.senders) if loaded else {},
        loaded.default_sender if loaded else None,
        names,
        "default_sender" in general,
        same_pbx=same_pbx,
    )


def _check(user: str, password: str, url: str, path: Path) -> None:
    if not user:
        raise Unclear("no CURLOPT(userpwd) says who sends: set it in the line before")
    if user in _RESERVED or not re.fullmatch(r"[^\[\]:;=#\s][^\[\]:;\n\r\t]*", user):
        raise Unclear(f"a section of sms.conf cannot be called {user[:40]}: convert by hand")
    try:
        values.url(url, Place(path, 0))
    except values.Bad:
        raise Unclear(f"{url[:80]} is no address that sms.conf takes") from None
    if not password or password != password.strip() or not password.isprintable():
        raise Unclear(
            f"the password of {user} is empty or has spaces at its ends: write sms.conf by hand,"
            " with password_file"
        )


def _bare(url: str) -> str:
    """*url* without the API's path."""
    return API.sub("", url).lower().rstrip("/")


def _section(sender: Sender) -> str:
    password = sender.password.replace(";", "\\;")
    verify = "verify = no\n" if sender.verify == "no" else ""
    return f"[{sender.name}]\nurl = {sender.url}\npassword = {password}\n{verify}"
