"""Who reads the API's replies, and what reads SMS_STATUS in their place.

A reply is converted if each step that reads its variable does so in a known way, in the request's
own extension, and every way to it comes from that request with no other SMS between.
"""

import re

from dialplan_sms.cli.migrate import flow, request
from dialplan_sms.cli.migrate.dialplan import Priority, first
from dialplan_sms.cli.migrate.senders import Finder

UNREACHABLE = '"UNREACHABLE"'  # what is in each test that was one for an empty answer

_SYSTEM = re.compile(r"(?:Try)?System\(", re.IGNORECASE)
# Variables that sms.agi reads or sets; it takes number and message, too, but SMS_… come first.
_OURS = re.compile(
    r"SMS_(?:NUMBER|MESSAGE|GSM|POSTPONE|SENDER|MODE|KEY|STATUS|CAUSE|REASON|FAILED|ID|VIA)|gsm"
)
_SHOWING = re.compile(r"(?:NoOp|Verbose|Log|System|TrySystem)\(", re.IGNORECASE)
# Functions that take the name of a variable.
_BY_NAME = "CUT|FIELDQTY|FIELDNUM|REPLACE|STRREPLACE|PASSTHRU|JSON_DECODE|SHIFT|POP|LISTFILTER"
# The word with nothing around it that gives it another meaning, as in unsuccessful.
_NO_WORD = r"[^\"\]$&|a-z]"
_WORD = rf"(?:{_NO_WORD}|\btype\b)*(?P<word>success|warning|error){_NO_WORD}*"


class Replies:
    """Who reads what recipes left in variables; recipes whose replies cannot go are refused."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._by_step = {found.step: found for found in finder.recipes}
        # The steps that can be converted, with those recipes and what each becomes.
        self.uses: list[tuple[Priority, list[request.Recipe], str]] = []
        self._see_to_foreign()
        for found in finder.recipes:
            found.refuse(first(
                ("SMS_STATUS" in found.condition,
                 "its condition reads SMS_STATUS, which the new lines clear first: step over it"
                 " with a GotoIf()"),
                (found.tail and not converted(found.tail, request.REPLY),
                 "the answer of the API is used in a way that has no certain replacement: write"
                 " Set(name=${CURL(…)}) on a line of its own, and test ${name} below it"),
            ))  # fmt: skip
        names = dict.fromkeys(found.reply for found in finder.recipes if found.reply)
        for step in finder.dialplan.steps:
            for name in ("GOSUB_RETVAL", "AGISTATUS"):  # which Gosub() and AGI() leave set
                if reads(step.app, name) and step.context != "sub-sms":
                    self._see_to_left(step, name)
            for name in names:
                if reads(step.app, name) or finder.flow.unread.get(name) is step:
                    self._see_to_use(step, name)
        # If one of the requests whose reply a step reads stays, the others stay, too.
        recipes = [sources for _, sources, _ in self.uses]
        while mixed := [each for each in recipes if len({bool(one.reason) for one in each}) > 1]:
            refused = next(found for found in mixed[0] if found.reason)
            for found in mixed[0]:
                found.refuse(refused.reason, refused.reader)

    def _see_to_foreign(self) -> None:
        """Refuse what would change variables of ours that the old dialplan has for itself."""
        steps, unread = self._finder.dialplan.steps, self._finder.flow.unread
        sending = {step.key for step in steps if flow.SENDS.search(step.plain)}
        own = [step for step in steps if not (step.context == "sub-sms" or step in self._by_step)]
        foreign = {
            **self._finder.dialplan.global_lines,
            **{n: step.line for step in own for n in step.writes if step.key not in sending},
            **{word: by.line for word, by in unread.items() if by.key not in sending},
        }
        for name in filter(_OURS.fullmatch, foreign):
            for found in self._finder.recipes:
                if name != "gsm" or "gsm" not in found.fields:
                    why = f"sets {name}, which sms.agi takes for its own from now on: give yours"
                    found.refuse(f"{why} another name, and convert again", foreign[name].place)

    def _see_to_left(self, step: Priority, name: str) -> None:
        """Refuse what would change a variable that *step* reads and a Gosub() or AGI() has set."""
        stops, elsewhere = self._stops(step, name)
        for found in self._finder.recipes:
            if elsewhere or found.step in stops:
                why = f"reads {name}, which the new lines set: let it do so above this line"
                found.refuse(why, step.line.place)

    def _see_to_use(self, step: Priority, name: str) -> None:
        stops, elsewhere = self._stops(step, name)
        named = {found.step: found for found in self._finder.recipes if found.reply == name}
        sources = [named[stop] for stop in stops if stop in named]
        others = [stop for stop in stops if stop not in named]
        if not sources and not elsewhere and all(_sets(stop, name) for stop in others):
            return  # a value of its own
        own = self._by_step.get(step)
        app = converted(step.app, name) if reads(step.app, name) else None
        # A condition that is false leaves what another line has set.
        conditional = all(found.condition for found in sources)
        set_again = sources and conditional and len(self._finder.dialplan.variables[name]) > 1
        told = f"reads the answer in ${{{name}}}"
        reason = first(
            (own and reads(own.condition, name),
             f"{told} in its condition: step over it with a GotoIf() on a line of its own, and"
             " convert again"),
            (own or app is None or step.line.path not in self._finder.files,
             f"{told}: change it to ${{SMS_STATUS}}, which is SUCCESS, WARNING, QUEUED or ERROR,"
             " and convert again"),
            (others or set_again,
             f"{told}, after another SMS may have been sent: SMS_STATUS is the latest one's. Put"
             " that test right below this line, before the other SMS, and convert again"),
            (not sources or (elsewhere and not conditional),
             f"{told}, and a call may come there from elsewhere: put that test right below this"
             " line, and convert again"),
        )  # fmt: skip
        if app is not None and not reason:
            self.uses.append((step, sources, app))
        for found in named.values() if others or set_again or not sources else sources:
            found.refuse(reason, step.line.place)

    def _stops(self, step: Priority, name: str) -> tuple[list[Priority], bool]:
        """The nearest steps above that set *name*, or may send an SMS; and whether others may."""

        def stops(above: Priority) -> bool:
            sends = above in self._by_step or flow.SENDS.search(above.app) is not None
            return sends or _sets(above, name) or flow.calls_others(above)

        return self._finder.flow.reaching(step, stops)


def _sets(step: Priority, name: str) -> bool:
    return name in step.writes or (
        name == request.SYSTEMSTATUS and _SYSTEM.match(step.app) is not None
    )


def reads(app: str, name: str) -> bool:
    """Whether *app* reads the variable *name*."""
    return re.search(rf"\{{{name}[}}:]|\b(?:{_BY_NAME})\(\s*{name}\b", app) is not None


def converted(app: str, name: str) -> str | None:
    """*app* with each test of ``${name}`` for success as one of SMS_STATUS; None if one stays."""
    variable = rf"\$\{{{name}\}}"
    equals, end = r"\s*(?P<operator>==|!=|=)\s*", r"(?=\s*[\]&|)])"

    def compared(found: re.Match[str]) -> str:
        sign = "!=" if found["operator"] == "!=" else "="
        return f'"${{SMS_STATUS}}" {sign} "{found["word"].upper()}"'

    def empty(found: re.Match[str]) -> str:
        # No answer at all. After NO_ANSWER a loop would send twice, so it is not one.
        sign, joint = ("!=", "&") if found["operator"] == "!=" else ("=", "|")
        return f'("${{SMS_STATUS}}" {sign} "" {joint} "${{SMS_CAUSE}}" {sign} {UNREACHABLE})'

    for pattern, test in (
        (rf'(?i)(?P<quote>"?){variable}(?P=quote)\s*(?P<operator>=~|==|!=|=|:)\s*'
         rf'(?P<other>"?){_WORD}(?P=other){end}', compared),
        (rf'"{variable}"{equals}""', empty),
        (rf'"?\$\{{LEN\({variable}\)\}}"?{equals}"?0"?{end}', empty),
        (rf'(?i)\$\{{REGEX\("{_WORD}"\s+{variable}\)\}}',
         lambda found: f'$["${{SMS_STATUS}}" = "{found["word"].upper()}"]'),
    ):  # fmt: skip
        app = re.sub(pattern, test, app)
    # A command that searches the reply for a word would not find it.
    searched = _SYSTEM.match(app) and re.search("success|warning|error", app, re.IGNORECASE)
    if _SHOWING.match(app) and not searched:  # which shows status, cause and reason then
        app = re.sub(variable, lambda _: "${SMS_STATUS} ${SMS_CAUSE} ${SMS_REASON}", app)
    return None if reads(app, name) else app
