"""What the address of the list asks for; none of it is to be trusted."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from dialplan_sms.outbox.history import Filters
from dialplan_sms.outbox.schema import State
from dialplan_sms.outbox.search import Place

LONGEST_ID = 18
"""Digits: what both databases can hold."""
_PLACE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,17})?|1e\+300)_([0-9]{1,18})")
_RIGHT = {
    "state": (re.compile("|".join(State)), f"State is one of {', '.join(State)}."),
    "number": (
        re.compile(r"(?=.*[0-9*#])[0-9*#()./ +\-]{1,60}"),
        "Number is a phone number or some of its digits.",
    ),
    "sender": (re.compile(r"[^\0]{1,200}"), "Sender is the name of a section of sms.conf."),
    "before": (_PLACE, "That is no place in the list: begin at the newest."),
}
"""How each value has to look, and what is said of one that does not."""


@dataclass(frozen=True, slots=True)
class Query:
    """The filters of the list as typed, where to go on, and what is wrong with them."""

    state: str = ""
    number: str = ""
    sender: str = ""
    before: str = ""
    wrong: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Mapping[str, str]) -> "Query":
        """That of the fields of a query string; a value that is wrong is left out."""
        values, wrong = {}, []
        for name, (right, line) in _RIGHT.items():
            value = given.get(name, "").strip()
            if not value or right.fullmatch(value):
                values[name] = value
            else:
                wrong.append(line)
        return cls(**values, wrong=tuple(wrong))

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
