"""What a variable may hold when a call comes to a step, as far as the files show."""

import re
from collections.abc import Callable

from dialplan_sms.cli.migrate.dialplan import HARMLESS, Dialplan, Priority
from dialplan_sms.cli.migrate.expression import IF_PLAIN, READ, Unclear, resolve
from dialplan_sms.cli.migrate.flow import SENDS, Flow

API = re.compile(r"/api/v1/ori?ginate/sms/?", re.IGNORECASE)
"""Where the API is; the oldest versions of the vendor's page misspell it."""
_PART = re.compile(r"ori?ginate/sms", re.IGNORECASE)
_RUNS = re.compile(r"\b(?:CURL|SHELL)\(|\b(?:curl|wget)\s", re.IGNORECASE)
_SHOWS = re.compile(r"(?:NoOp|Verbose|Log)\(", re.IGNORECASE)
_ADDRESS = re.compile(r"""CURL\(([^,?]*)|https?://[^\s"'?]*""", re.IGNORECASE)


class Variables:
    """The variables of one dialplan."""

    def __init__(self, dialplan: Dialplan, flow: Flow) -> None:
        self._dialplan, self._flow = dialplan, flow
        self.unread: dict[str, Priority] = {}
        """Words of steps that may set a variable of that name in a way that is not read."""
        for step in dialplan.steps:
            if not (step.writes or HARMLESS.match(step.plain) or SENDS.search(step.plain)):
                is_set = step.plain[:4].lower() == "set("
                text = step.plain.partition("=")[0] if is_set else step.plain
                for word in re.findall(r"\w+", READ.sub("", text)):
                    self.unread.setdefault(word, step)
        self._addresses: set[str] = set()
        """Variables that hold the address of the API."""
        before = -1
        while before < len(self._addresses):
            before = len(self._addresses)
            self._addresses |= {
                name
                for name, values in dialplan.variables.items()
                if any(self._has_address(value) and not _RUNS.search(value) for value in values)
            }

    def at(self, step: Priority) -> Callable[[str, bool], list[str]]:
        """All values that a variable may have at *step*; raises Unclear if there may be others.

        One that another was made of may have any of its values, since it has changed perhaps.
        """
        return lambda name, anywhere: self._values(None if anywhere else step, name)

    def _values(self, at: Priority | None, name: str) -> list[str]:
        step = self.unread.get(name)
        if step is not None:
            line = f"line {step.line.number} of {step.line.path.name}"
            raise Unclear(
                f"what ${{{name}}} holds cannot be seen: {line} may set it, too{IF_PLAIN}"
            )
        known = [
            value
            for value in (self._reaching(at, name) if at else self._anywhere(name))
            if not (_RUNS.search(value) and self._has_address(value))
        ]
        if not known and re.fullmatch(r"(?:MACRO_)?ARG\d+", name):
            raise Unclear(f"${{{name}}} comes with a Gosub() or Macro(), perhaps encoded{IF_PLAIN}")
        if not known:
            raise Unclear(
                f"nothing in these files sets ${{{name}}}, and it may come encoded{IF_PLAIN}"
            )
        return known

    def exact(self, step: Priority, name: str) -> str | None:
        """The one value that *name* has on every way to *step*; None if there are several."""
        values = self._reaching(step, name)
        return values[0] if len(values) == 1 and name not in self.unread else None

    def _reaching(self, step: Priority, name: str) -> list[str]:
        """What *name* is set to on the ways to *step*; anywhere, if a way has no such line."""
        found, elsewhere = self._flow.reaching(step, lambda above: name in above.writes)
        if elsewhere or not all(each.surely for each in found):
            return self._anywhere(name)
        return list(dict.fromkeys(each.writes[name] for each in found))

    def resolve(self, step: Priority) -> Callable[[str], str | None]:
        """*text* with its variables replaced, as a call has them at *step*; None if not known."""
        return lambda text: resolve(text, lambda name: self.exact(step, name))

    def _anywhere(self, name: str) -> list[str]:
        return list(dict.fromkeys(self._dialplan.variables.get(name, ())))

    def uses_api(self, step: Priority) -> bool:
        """Whether *step* calls the SMS API, or may: nothing that does stays unnamed."""
        app = step.plain
        runs = _RUNS.search(app) is not None
        if not runs and (step.writes or _SHOWS.match(app)):
            return False
        if self._has_address(app):
            return True
        words = self._with_values(app)
        if not runs or "message=" not in words or "number=" not in words:
            return False
        address = _ADDRESS.search(app)
        return address is None or self.resolve(step)(address[0].partition(")}")[0]) is None

    def uses_curl(self, step: Priority) -> bool:
        """Whether *step* calls the function CURL()."""
        return re.search(r"\bCURL\(", step.plain, re.IGNORECASE) is not None

    def _has_address(self, text: str) -> bool:
        return _PART.search(text) is not None or not self._addresses.isdisjoint(READ.findall(text))

    def _with_values(self, text: str) -> str:
        seen: set[str] = set()
        while names := set(READ.findall(text)) - seen:
            seen |= names
            values = (value for name in names for value in self._dialplan.variables.get(name, ()))
            text = " ".join([text, *values])[:100_000]
        return text
