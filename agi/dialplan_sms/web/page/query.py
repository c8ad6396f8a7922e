"""What the page's address asks for, and what a form has sent; none of it is to be trusted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from dialplan_sms.outbox.history.search import Place
from dialplan_sms.outbox.history.stored import Filters
from dialplan_sms.outbox.schema import State
from dialplan_sms.web.http.request import form_pairs

LONGEST_ID = 18
"""Digits: what both databases can hold."""
_LONGEST_SENDER = 200
_NUMBER = re.compile(r"[0-9*#()./ +\-]{1,60}")
_PLACE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,17})?|1e\+300)_([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Query:
    """The filters of the list as typed, where to go on, and what is wrong with them, by name."""

    state: str = ""
    number: str = ""
    sender: str = ""
    before: str = ""
    wrong: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, data: bytes) -> "Query":
        """That of a query string."""
        given = fields(data)
        state, number, sender, before = (
            given.get(name, "").strip() for name in ("state", "number", "sender", "before")
        )
        wrong = []
        if state and state not in set(State):
            state = ""
            wrong.append(("state", f"State is one of {', '.join(State)}."))
        if number and not (_NUMBER.fullmatch(number) and re.search(r"[0-9*#]", number)):
            number = ""
            wrong.append(("number", "Number is a phone number or some of its digits."))
        if len(sender) > _LONGEST_SENDER or "\0" in sender:
            sender = ""
            wrong.append(("sender", "Sender is the name of a section of sms.conf."))
        if before and not _PLACE.fullmatch(before):
            before = ""
            wrong.append(("before", "That is no place in the list: begin at the newest."))
        return cls(state, number, sender, before, tuple(wrong))

    @property
    def filters(self) -> Filters:
        """For a search."""
        return Filters((self.state,) if self.state else (), self.number, self.sender)

    @property
    def filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.state or self.number or self.sender)

    @property
    def place(self) -> Place | None:
        """Where to go on."""
        found = _PLACE.fullmatch(self.before)
        return (float(found[1]), int(found[2])) if found else None

    def at(self, place: Place | None) -> str:
        """The query string of the list below *place*, or from the newest."""
        before = f"{place[0]!r}_{place[1]}" if place else ""
        values = {
            "state": self.state, "number": self.number, "sender": self.sender, "before": before
        }  # fmt: skip
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def here(self) -> str:
        """The query string of this very list."""
        return self.at(self.place)


def fields(data: bytes) -> Mapping[str, str]:
    """The fields of a form or a query string by name; the last of a name counts."""
    return dict(form_pairs(data))
