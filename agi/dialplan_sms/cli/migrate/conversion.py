"""Which lines change, and into what; and what is to be done by hand."""

import re
from functools import partial
from pathlib import Path

from dialplan_sms.cli.migrate import encoding, flow, replies
from dialplan_sms.cli.migrate.dialplan import NAME, Priority, first, split
from dialplan_sms.cli.migrate.files import FileLine, Place, Problem
from dialplan_sms.cli.migrate.request import REPLY, Recipe
from dialplan_sms.cli.migrate.senders import Finder

# A call, and one on a condition.
_BY_GOSUB = ("Gosub(sub-sms,s,1)", "GosubIf({}?sub-sms,s,1)")
_BY_AGI = ("AGI(sms.agi)", "ExecIf({}?AGI(sms.agi))")
_ANYWHERE = ("Set(SMS_NUMBER=<number>)", "Set(SMS_MESSAGE=<text>)", "AGI(sms.agi)")
_ORDER = ("number", "message", "gsm", "postpone", "sender", "mode")


class Conversion:
    """What is made of what a Finder found; only its files change."""

    def __init__(self, finder: Finder) -> None:
        self.problems: list[Problem] = []
        self._finder = finder
        self._senders = finder.senders
        self._dialplan = finder.dialplan
        steps = self._dialplan.steps
        # From here on nobody has priorities.
        self._free = 100 * max([10, *((step.priority or 0) // 100 + 1 for step in steps)]) + 1
        self.by_gosub = "sub-sms" in self._dialplan.contexts
        for found in finder.recipes:
            found.refuse(self._refusal(found.step))
            if found.url:
                finder.check(found)
        uses = replies.Replies(finder).uses
        self.done = [found for found in finder.recipes if not found.reason]
        wanted = {found.sender for found in self.done}
        self._senders.new = {n: each for n, each in self._senders.new.items() if n in wanted}
        set_somewhere = " ".join(step.app for step in steps)
        self._empty = {
            name: ""
            for name in _ORDER[:4]
            if f"SMS_{name.upper()}" in set_somewhere or any(name in f.values for f in self.done)
        }
        for found in finder.recipes:
            if found.reason:
                self._name(found.step.line, found.reason, found.reader, self._by_hand(found))
            else:
                self._convert(found)
        for step, sources, app in uses:
            if not sources[0].reason:
                self._replace(step, app)
                self._see_to_empty(step, app)
        self._see_to_options({found.login for found in self.done})
        self._see_to_countries()
        self._name_misled()
        self._name_mentions()
        self.problems = [each for each in self.problems if each.path in finder.files]

    def _name(
        self, line: FileLine, reason: str, other: Place | None = None, by_hand: tuple[str, ...] = ()
    ) -> None:
        self.problems.append(Problem(*line.place, reason, other=other, by_hand=by_hand))

    def _note(self, line: FileLine, reason: str) -> None:
        self.problems.append(Problem(*line.place, reason, note=True))

    def _refusal(self, step: Priority) -> str:
        """Why the step cannot become several; empty if it can."""
        end = self._dialplan.section_ends[step.section]
        return first(
            (step.line.path not in self._finder.files, "not in the files to convert"),
            (any(len(self._finder.tree.named[path]) > 1 for path in (step.line.path, end.path)),
             "the file is included more than once: convert by hand"),
            (self._has_room(step), ""),
            (step.priority is None, "its priority cannot be known: give it a number or n"),
            (end.path not in self._finder.files,
             f"its context ends in {end.path}: convert that file, too"),
            # New priorities far behind would move the next "n" of whoever has these lines, too.
            (step.context in self._dialplan.templates,
             "its context is a template or made from one, and numbers of priorities matter in it:"
             " write n for them, or convert by hand"),
        )  # fmt: skip

    def _has_room(self, step: Priority) -> bool:
        """Whether lines may come and go here: only ``n`` follows, and nobody jumps to a number."""
        if step.priority is None or self._finder.flow.jumps_to_numbers(step):
            return False
        steps, own = self._dialplan.steps, self._dialplan.extensions[step.key]
        below = [
            (each.exten == step.exten, each.token.lower() in ("n", "next", "hint"))
            for each in steps[steps.index(step) + 1 :]
            if each.section == step.section
        ]
        return (
            all(counts_on for is_own, counts_on in below if is_own)
            # Nor may a line of another extension count on from the last one of this.
            and not next((counts_on for is_own, counts_on in below if not is_own), False)
            and all(e.section == step.section or (e.priority or 0) <= step.priority for e in own)
        )

    def _put(self, step: Priority, *apps: str) -> None:
        """Applications in place of the step's: there, or far behind if numbers must not change."""
        before, comment = step.before.lstrip("\ufeff"), step.line.raw[len(step.line.content) :]
        if not self._has_room(step):
            exten = f"exten {'=>' if '=>' in before else '='} {step.exten}"
            end = self._dialplan.section_ends[step.section].place
            far = enumerate([*apps, f"Goto({(step.priority or 0) + 1})"], self._free)
            self._finder.tree.after[end] += [f"{exten},{number},{app}" for number, app in far]
            apps = (f"Goto({self._free})",)
            self._free += 100
        label = "" if step.label is None else f"({step.label})"
        comment = f" {comment}" if comment.strip("; \t") else ""
        self._finder.tree.replaced[step.line.place] = [
            f"{step.before}{step.token}{label},{apps[0]}{comment}",
            *(f"{before}n,{app}" for app in apps[1:]),
        ]

    def _replace(self, step: Priority, app: str) -> None:
        """Another application in a line that stays as it is."""
        before, after = step.line.raw[: step.start], step.line.raw[step.start + len(step.app) :]
        self._finder.tree.replaced[step.line.place] = [before + app + after]

    def _remove(self, step: Priority) -> None:
        """Without the line, or with nothing in it if its number or label counts."""
        self._replace(step, "NoOp()")
        is_next = step.token.lower() == "n" and not step.label
        if is_next and not self._refusal(step) and self._has_room(step):
            self._finder.tree.replaced[step.line.place] = []

    def _see_to_options(self, moved: set[str | None]) -> None:
        """The options of CURL() go with the last CURL(), if their logins are in sms.conf then."""
        logins = self._finder.logins
        if self._finder.has_other_curl or any(
            found.reason and not found.by_shell for found in self._finder.recipes
        ):
            for line in (each.step.line for each in logins if each.value in moved):
                self._note(line, "left with its password, since another CURL() may need it")
            return
        for option in self._finder.options:
            line, unused = option.step.line, "a login of CURLOPT that no CURL() of the SMS API uses"
            if option in logins and option.value not in moved:
                self._name(line, f"{unused}: it is left, with its password")
            elif self.done and option.unread:
                more = f"left, since it may set more than CURLOPT({option.name})"
                self._note(line, f"{more}, which nothing needs now")
            elif self.done:
                self._remove(option.step)
                held = self._dialplan.global_lines
                for name in filter(held.__contains__, NAME.findall(option.value)):
                    self._note(held[name], f"{name} may still hold a password: see to it")

    def _lines(self, found: Recipe, values: dict[str, str]) -> list[str]:
        """The applications in a request's place: *values* of SMS_… by their parameters, a call."""
        if self._senders.several and found.sender:
            values = values | {"sender": found.sender}
        lines = [f"Set(SMS_{name.upper()}={values[name]})" for name in _ORDER if name in values]
        call, call_if = _BY_GOSUB if self.by_gosub else _BY_AGI
        if found.condition or not self.by_gosub:
            lines.append("Set(SMS_STATUS=)")  # an earlier SMS's status is not this one's
        return [*lines, call_if.format(found.condition) if found.condition else call]

    def _by_hand(self, found: Recipe) -> tuple[str, ...]:
        """The applications for a person to put in a recipe's place, as far as can be told."""
        asked = {n: encoding.as_it_stands(v, found.encoded) for n, v in found.fields.items()}
        told = asked | found.values | {"mode": found.mode}
        known = {name: value for name, value in told.items() if value}
        return tuple(self._lines(found, {"number": "<number>", "message": "<text>"} | known))

    def _convert(self, found: Recipe) -> None:
        tail = replies.converted(found.tail, REPLY)
        apps = [*self._lines(found, self._empty | found.values), *filter(None, [tail])]
        if found.condition:
            self._note(
                found.step.line,
                "converted, and now sends only if the condition is true: Asterisk ran CURL() before"
                " ExecIf looked at it, so the old line sent every time",
            )
        self._see_to_empty(found.step, apps[-1])
        self._put(found.step, *apps)

    def _see_to_empty(self, step: Priority, app: str) -> None:
        if replies.UNREACHABLE in app and replies.UNREACHABLE not in step.app:
            self._note(
                step.line,
                "converted: an empty answer is now SMS_STATUS empty or UNREACHABLE, and nothing was"
                " sent then; for NO_ANSWER, which may have been sent, and other failures test"
                " SMS_STATUS and SMS_CAUSE",
            )

    def _see_to_countries(self) -> None:
        """A note on numbers that may lack the country, if sms.conf has none for their sender."""
        senders, varying = self._senders, set[tuple[Path, str]]()
        for found in self.done:
            line, user = found.step.line, found.sender or senders.default or ""
            number, given = found.values["number"], partial(self._finder.given, found)
            has_country = user in senders.there and senders.there[user].country
            items = [] if has_country else split(number, ",")
            lacking = [each for each in items if encoding.may_lack_code(each, given)]
            place = f"set country in {f'[{user}] of ' if user else ''}{senders.path.name}"
            if any("$" not in item for item in lacking):
                self._note(line, f"converted, but {number} has no country code: {place}")
            elif lacking and (line.path, user) not in varying:
                varying.add((line.path, user))
                reason = f"converted, but {lacking[0][:60]} may come without + and country code"
                self._note(line, f"{reason}: {place}, as country = IT")

    def _name_misled(self) -> None:
        """A note on each step that sends already, and may go by what converted lines leave set."""
        own_sender = self._senders.default or next(iter(self._senders.new), "")
        leave = {"SMS_SENDER": own_sender} if self._senders.several else {}
        leave |= {f"SMS_{n.upper()}": "" for n in ("gsm", "postpone") if n in self._empty}
        others = [step for step in self._dialplan.steps if self.done and step.context != "sub-sms"]
        for step in (step for step in others if flow.SENDS.search(step.app)):
            own = " ".join(other.app for other in self._dialplan.extensions[step.key])
            if missing := [name for name in leave if name not in own]:
                sets = " and ".join(f"Set({name}={leave[name]})" for name in missing)
                self._note(
                    step.line,
                    "sends, too: if a call comes here after a converted line, it goes by that"
                    f" line's {' and '.join(missing)}; then put {sets} before it",
                )

    def _name_mentions(self) -> None:
        """Lines that are no steps and name the SMS API, and comments that hold a password."""
        for line in self._dialplan.others:
            if flow.API.search(line.text):
                self._name(line, "not a line that can be read", by_hand=_ANYWHERE)
            elif not line.text and re.search(r"(?i)CURLOPT\(userpwd\)", line.raw):
                self._note(line, "a comment still has a password: delete it")
