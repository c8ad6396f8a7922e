"""What goes to sms.conf: a section for each user, never in place of one that is there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.migrate.expression import Unclear
from dialplan_sms.cli.migrate.flow import API
from dialplan_sms.config import config as smsconf
from dialplan_sms.config import values
from dialplan_sms.config.config import Sender
from dialplan_sms.config.parser import Place, parse, read_private

_RESERVED = (smsconf.GENERAL, smsconf.HTTP)


@dataclass(slots=True)
class Senders:
    """The senders that there are, and those to add.

    *same_pbx* is whether an address in the dialplan is that of the section that is there, however
    either is written. *content* is that of sms.conf, None if there is none.
    """

    path: Path
    same_pbx: bool = False
    content: bytes | None = field(default=None, repr=False)
    there: Mapping[str, Sender] = field(default_factory=dict)
    default: str | None = None
    default_set: bool = False
    new: dict[str, Sender] = field(default_factory=dict)

    def take(self, user: str, password: str, url: str, insecure: bool) -> None:
        """See to a section for this user. Raises Unclear if another stands in its way."""
        there, known = self.there.get(user), self.new.get(user)
        there_url = API.sub("", there.url).lower().rstrip("/") if there else url
        problems = (
            (not user, "no CURLOPT(userpwd) says who sends: set it in the line before"),
            (
                user in _RESERVED or not re.fullmatch(r"[^\[\]:;=#\s][^\[\]:;\n\r\t]*", user),
                f"a section of sms.conf cannot be called {user[:40]}: convert by hand",
            ),
            (not _is_url(url), f"{url[:80]} is no address that sms.conf takes"),
            (
                not password or password != password.strip() or not password.isprintable(),
                f"the password of {user} is empty or has spaces at its ends: write sms.conf by"
                " hand, with password_file",
            ),
            (
                there_url != url and not self.same_pbx,
                f"[{user}] in {self.path} has another url than this line ({url}): if both are the"
                " same PBX, add --same-pbx",
            ),
            (
                there and there.password and there.password != password,
                f"[{user}] in {self.path} has another password than this line: see which holds",
            ),
            (
                known and known.url != url,
                f"a section has one url: [{user}] gets {known and known.url}, and this line has"
                f" {url}",
            ),
            (
                known and known.password != password,
                f"another password of [{user}] stands in another line: see which holds",
            ),
        )
        for applies, reason in problems:
            if applies:
                raise Unclear(reason)
        verify = "no" if insecure and url.startswith("https:") else "yes"
        if there is None and (known is None or verify == "no"):
            self.new[user] = Sender(user, url, password, verify=verify)

    @property
    def several(self) -> bool:
        """Whether a line has to say which sender it means."""
        return len(self.there.keys() | self.new.keys()) > 1

    @property
    def after(self) -> bytes:
        """What sms.conf has with the new sections."""
        if not self.new:
            return self.content or b""
        before, first = (self.content or b"").decode(), next(iter(self.new))
        newline = "\r\n" if "\r\n" in before else "\n"
        if before and not before.endswith("\n"):
            before += newline  # or what comes next would continue its last line
        if not self.default_set and self.several and (self.default or not self.there):
            line = f"default_sender = {self.default or first}{newline}"
            at = len(before) - len(before.removeprefix("\ufeff"))  # which stays the file's first
            if general := re.search(r"(?m)^\ufeff?[ \t]*\[general\][^\n]*\n", before):
                at = general.end()
            else:
                line = f"[general]{newline}{line}{newline if before[at:] else ''}"
            before = before[:at] + line + before[at:]
        sections = "\n".join(map(_section, self.new.values())).replace("\n", newline)
        return f"{before}{newline if before else ''}{sections}".encode()


def read(path: Path, same_pbx: bool = False) -> Senders:
    """The senders of the sms.conf that there is. Raises ConfigError if it cannot be used."""
    if not path.exists():
        return Senders(path, same_pbx)
    sections = parse(read_private(path, "sms.conf"), path)
    content = path.read_bytes()
    general = sections.get(smsconf.GENERAL)
    default_set = general is not None and "default_sender" in general.values
    if not sections.keys() - set(_RESERVED):
        return Senders(path, same_pbx, content, default_set=default_set)
    loaded = smsconf.load(path)
    return Senders(path, same_pbx, content, loaded.senders, loaded.default_sender, default_set)


def _is_url(url: str) -> bool:
    try:
        values.url(url, Place(Path(), 0))
    except values.Bad:
        return False
    return True


def _section(sender: Sender) -> str:
    password = sender.password.replace(";", "\\;")
    verify = "verify = no\n" if sender.verify == "no" else ""
    return f"[{sender.name}]\nurl = {sender.url}\npassword = {password}\n{verify}"
