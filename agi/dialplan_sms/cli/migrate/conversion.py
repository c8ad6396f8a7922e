"""Which lines change, and into what; and what is to be done by hand."""

import re
from collections.abc import Iterator
from pathlib import Path

from dialplan_sms.cli.migrate import (
    dialplan,
    encoding,
    expression,
    files,
    find,
    flow,
    replies,
    request,
)

_GOSUB = "Gosub(sub-sms,s,1)"
_AGI = "AGI(sms.agi)"
_IDLE = "a login of CURLOPT that no CURL() of the SMS API uses: it is left, with its password"
_KEPT = "left with its password, since another CURL() may need it"
_CONDITION = (
    "converted, and now sends only if the condition is true: Asterisk ran CURL() before ExecIf"
    " looked at it, so the old line sent every time"
)
_EMPTY = (
    "converted: an empty answer is now SMS_STATUS empty or UNREACHABLE, and nothing was sent then;"
    " for NO_ANSWER, which may have been sent, and other failures test SMS_STATUS and SMS_CAUSE"
)
_ANYWHERE = ("Set(SMS_NUMBER=<number>)", "Set(SMS_MESSAGE=<text>)", _AGI)
_ORDER = {name: f"SMS_{name.upper()}" for name in ("number", "message", "gsm", "postpone")}


class Conversion:
    """What is made of what a Finder found; only its files change."""

    def __init__(self, finder: find.Finder) -> None:
        self.problems: list[files.Problem] = []
        self.done: set[files.Place] = set()
        self._varying: set[tuple[Path, str]] = set()  # who was told of country
        self._finder = finder
        self._senders = finder.senders
        self._dialplan = finder.dialplan
        self._edits = finder.edits
        self.by_gosub = "sub-sms" in self._dialplan.contexts
        uses = replies.Replies(finder).uses
        good = [found for found in finder.recipes if not found.reason]
        wanted = {found.sender for found in good}
        self._senders.new = {n: each for n, each in self._senders.new.items() if n in wanted}
        set_somewhere = " ".join(step.app for step in self._dialplan.steps)
        self._also = {
            name
            for name, variable in _ORDER.items()
            if variable in set_somewhere or any(name in found.values for found in good)
        }
        for found in finder.recipes:
            if found.reason:
                by_hand = tuple(self._by_hand(found))
                self._name(found.step.line, found.reason, other=found.reader, by_hand=by_hand)
            else:
                self._convert(found)
        for use in uses:
            if use.app is not None and not any(found.reason for found in use.sources):
                self._edits.replace(use.step, use.app)
                self._see_to_empty(use.step, use.app)
        self._see_to_options({found.login for found in good})
        if self.done:
            self._name_misled()
        self._name_mentions()

    def _see_to_options(self, moved: set[str | None]) -> None:
        """The options of CURL() go with the last CURL(), if their logins are in sms.conf then."""
        curl_stays = self._finder.has_other_curl or any(
            found.reason and not found.by_shell for found in self._finder.recipes
        )
        for option in self._finder.options.values():
            line = option.step.line
            if curl_stays:
                if option.is_login and option.value in moved:
                    self._name(line, _KEPT, note=True)
            elif option.is_login and option.value not in moved:
                self._name(line, _IDLE)
            elif self.done:
                self._edits.remove(option.step)
                for name in expression.NAME.findall(option.value):
                    if name in self._dialplan.global_lines:
                        reason = f"{name} may still hold a password: see to it"
                        self._name(self._dialplan.global_lines[name], reason, note=True)

    def _call(self, condition: str) -> list[str]:
        if condition and self.by_gosub:
            call = f"GosubIf({condition}?sub-sms,s,1)"
        elif self.by_gosub:
            return [_GOSUB]
        else:
            call = f"ExecIf({condition}?{_AGI})" if condition else _AGI
        return ["Set(SMS_STATUS=)", call]  # an earlier SMS's status is not this one's

    def _by_hand(self, found: request.Recipe) -> Iterator[str]:
        """The applications for a person to put in a recipe's place, as far as can be told."""
        asked = {n: encoding.as_it_stands(v, found.encoded) for n, v in found.fields.items() if v}
        known = {"number": "<number>", "message": "<text>"} | asked
        for name, variable in _ORDER.items():
            if value := found.values.get(name) or known.get(name):
                yield f"Set({variable}={value})"
        if found.sender and self._senders.several:
            yield f"Set(SMS_SENDER={found.sender})"
        if found.unwaited:
            yield "Set(SMS_MODE=queue)"
        yield from self._call(found.condition)

    def _convert(self, found: request.Recipe) -> None:
        step = found.step
        apps = [
            f"Set({variable}={found.values.get(name, '')})"
            for name, variable in _ORDER.items()
            if name in self._also or name in found.values
        ]
        if self._senders.several:
            apps.append(f"Set(SMS_SENDER={found.sender})")
        apps += self._call(found.condition)
        if found.condition:
            self._name(step.line, _CONDITION, note=True)
        if tail := replies.converted(found.tail, request.REPLY):
            apps.append(tail)
            self._see_to_empty(step, tail)
        self._edits.put(step, *apps)
        self.done.add(step.line.place)
        self._see_to_country(found)

    def _see_to_empty(self, step: dialplan.Priority, app: str) -> None:
        if replies.UNREACHABLE in app and replies.UNREACHABLE not in step.app:
            self._name(step.line, _EMPTY, note=True)

    def _see_to_country(self, found: request.Recipe) -> None:
        senders, line = self._senders, found.step.line
        user = found.sender or senders.default or ""
        if user in senders.there and senders.there[user].country:
            return
        number = found.values["number"]
        given = self._finder.given(found)
        lacking = [
            item for item in expression.split(number, ",") if encoding.may_lack_code(item, given)
        ]
        place = f"set country in {f'[{user}] of ' if user else ''}{senders.path.name}"
        if any("$" not in item for item in lacking):
            self._name(line, f"converted, but {number} has no country code: {place}", note=True)
        elif lacking and (line.path, user) not in self._varying:
            self._varying.add((line.path, user))
            reason = f"converted, but {lacking[0][:60]} may come without + and country code"
            self._name(line, f"{reason}: {place}, as country = IT", note=True)

    def _name_misled(self) -> None:
        """A note on each step that sends already, and would go by what converted lines leave set.

        A variable stays for the rest of a call: one that goes through both would send as the
        other line's sender.
        """
        leave = {_ORDER[name]: "" for name in ("gsm", "postpone") if name in self._also}
        if self._senders.several:
            own_sender = self._senders.default or next(iter(self._senders.new), "")
            leave = {"SMS_SENDER": own_sender, **leave}
        for step in self._dialplan.steps:
            if step.context != "sub-sms" and flow.SENDS.search(step.app):
                own = " ".join(other.app for other in self._dialplan.extensions[step.key])
                if missing := [name for name in leave if name not in own]:
                    sets = " and ".join(f"Set({name}={leave[name]})" for name in missing)
                    reason = (
                        f"sends, too, and would keep the {' and '.join(missing)} of a converted"
                        f" line that the same call came through: put {sets} before it"
                    )
                    self._name(step.line, reason, note=True)

    def _name_mentions(self) -> None:
        """Lines that are no steps and name the SMS API, and comments that hold a password."""
        for line in self._dialplan.others:
            if flow.API.search(line.said.text):
                self._name(line, "not a line that can be read", by_hand=_ANYWHERE)
        for line in self._dialplan.comments:
            if re.search(r"(?i)CURLOPT\(userpwd\)", line.raw):
                self._name(line, "a comment still has a password: delete it", note=True)

    def _name(
        self,
        line: files.FileLine,
        reason: str,
        note: bool = False,
        other: files.Place | None = None,
        by_hand: tuple[str, ...] = (),
    ) -> None:
        problem = files.Problem(line.path, line.number, reason, note, other, by_hand)
        if line.path in self._finder.files and problem not in self.problems:
            self.problems.append(problem)
