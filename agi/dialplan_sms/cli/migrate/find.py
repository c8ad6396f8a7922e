"""Where the SMS API is used, who sends, and whether each use is understood wholly."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.migrate import (
    dialplan,
    edits,
    encoding,
    expression,
    files,
    flow,
    request,
    senders,
)

_CURL = re.compile(r"\bCURL\(", re.IGNORECASE)
_OPTION = re.compile(r"Set\([ \t]*CURLOPT\((\w+)\)[ \t]*=(.*)\)", re.IGNORECASE)
_ANY_OPTION = re.compile(r"CURLOPT\((\w+)\)[ \t]*=(.*)", re.IGNORECASE)
_LOGIN = "userpwd"
_INSECURE = ("ssl_verifypeer", "ssl_verifyhost")
_HARMLESS = {
    _LOGIN, *_INSECURE, "conntimeout", "dnstimeout", "followlocation", "httptimeout", "maxredirs",
    "referer", "useragent",
}  # fmt: skip
"""Options that change neither what is asked, nor who asks, nor how the answer looks."""
_OURS = re.compile(
    r"SMS_(?:NUMBER|MESSAGE|GSM|POSTPONE|SENDER|MODE|KEY|STATUS|CAUSE|REASON|FAILED|ID|VIA)|gsm"
)
"""Variables that sms.agi reads or sets; it takes number and message, too, but SMS_… come first."""
_UNWAITED = (
    "it did not wait for the answer (&), and the new lines would: with an outbox,"
    " Set(SMS_MODE=queue) stores the SMS at once"
)


@dataclass(slots=True)
class Option:
    """``Set(CURLOPT(name)=value)``; *unread* is one that is written in another way."""

    step: dialplan.Priority
    name: str
    value: str = field(repr=False)
    unread: bool

    @property
    def is_login(self) -> bool:
        return self.name == _LOGIN


class Finder:
    """What there is in the dialplan of a tree.

    Only *files* may change. *anonymous* is whether a request may leave open who sends.
    """

    def __init__(
        self, tree: files.Tree, senders: senders.Senders, files: set[Path], anonymous: bool = False
    ) -> None:
        self.dialplan = dialplan.Dialplan(tree)
        self.senders = senders
        self.files = files
        self.flow = flow.Flow(self.dialplan)
        self.edits = edits.Edits(tree, self.dialplan, self.flow, files)
        self._anonymous = anonymous
        self.recipes: list[request.Recipe] = []
        self.options: dict[int, Option] = {}
        self.has_other_curl = False
        for step in self.dialplan.steps:
            self._look_at(step)
        foreign = self._find_foreign()
        for found in self.recipes:
            self._check(found, foreign)

    def _look_at(self, step: dialplan.Priority) -> None:
        plain = _OPTION.fullmatch(step.plain)
        option = plain or _ANY_OPTION.search(step.plain)
        if self.flow.uses_api(step):
            self.recipes.append(request.read(step, self.flow.resolve(step)))
        elif plain is None and _CURL.search(step.plain):
            self.has_other_curl = True
        elif option:
            self.options[id(step)] = Option(step, option[1].lower(), option[2], plain is None)

    def _find_foreign(self) -> dict[str, files.FileLine]:
        """Variables of ours that the old dialplan has for itself, and where it sets each."""
        sending = {step.key for step in self.dialplan.steps if flow.SENDS.search(step.plain)}
        recipes = {id(found.step) for found in self.recipes}
        foreign = dict(self.dialplan.global_lines)
        for step in self.dialplan.steps:
            if step.context != "sub-sms" and step.key not in sending and id(step) not in recipes:
                foreign |= dict.fromkeys(step.writes, step.line)
        foreign |= {
            word: step.line for word, step in self.flow.unread.items() if step.key not in sending
        }
        return {name: line for name, line in foreign.items() if _OURS.fullmatch(name)}

    def _check(self, found: request.Recipe, foreign: dict[str, files.FileLine]) -> None:
        """Refuse what is not understood wholly, and see who sends the rest."""
        if found.step.line.path not in self.files:
            found.refuse("not in the files to convert")
        found.refuse(self.edits.refusal(found.step))
        if not found.url:
            return
        try:
            found.values = encoding.values(found.fields, self.given(found), found.encoded)
        except expression.Unclear as unclear:
            found.refuse(str(unclear))
        except RecursionError:
            found.refuse("its values stand in each other too deep to be followed")
        found.refuse(_UNWAITED if found.unwaited else "")
        for name, line in foreign.items():
            if name != "gsm" or "gsm" not in found.fields:
                found.refuse(
                    f"sets {name}, which sms.agi takes for its own from now on: give yours another"
                    " name, and convert again",
                    line.place,
                )
        try:
            self._see_who_sends(found)
        except expression.Unclear as unclear:
            found.refuse(str(unclear))

    def given(self, found: request.Recipe) -> encoding.Given:
        """All values that a variable may have there; a shell must not make others of them."""

        def values(name: str, anywhere: bool) -> list[str]:
            held = self.flow.values(found.step, name, anywhere)
            if found.by_shell and any(
                request.REPLACED.search(expression.literal(value)) for value in held
            ):
                raise expression.Unclear(
                    f"${{{name}}} holds what the shell reads first: $, backquotes, backslashes"
                )
            return held

        return values

    def _see_who_sends(self, found: request.Recipe) -> None:
        user, password, insecure = found.user, found.password, found.insecure
        if not found.by_shell:
            for name in sorted({option.name for option in self.options.values()} - _HARMLESS):
                if self._reaching(found.step, name)[0]:
                    raise expression.Unclear(
                        f"CURLOPT({name}) above it has no counterpart in sms.conf"
                    )
            insecure = any(
                self.flow.exact(found.step, f"CURLOPT({name})") in ("0", "no", "false", "off")
                for name in _INSECURE
            )
            above = self._reaching(found.step, _LOGIN)[0] if user else []
            if any(option.value != f"{user}:{password}" for option in above):
                raise expression.Unclear(
                    "both its URL and CURLOPT(userpwd) say who sends: leave one"
                )
        if not user:
            logins = [option for option in self.options.values() if option.is_login]
            if self._anonymous and not logins:
                return
            found.login, known = self._login(found.step, logins)
            user, _, password = known.partition(":")
        if not found.reason:
            self.senders.take(user, password, found.url, insecure)
        found.sender = user

    def _reaching(self, step: dialplan.Priority, name: str) -> tuple[list[Option], bool]:
        """The options of this name that hold at *step*, and whether there may be others."""
        named = {by: option for by, option in self.options.items() if option.name == name}
        steps, elsewhere = self.flow.reaching(step, lambda above: id(above) in named)
        return [named[id(above)] for above in steps], elsewhere

    def _login(self, step: dialplan.Priority, all_logins: list[Option]) -> tuple[str, str]:
        """CURLOPT(userpwd) on every way to *step*, as written and as meant. Raises Unclear."""
        options, elsewhere = self._reaching(step, _LOGIN)
        if elsewhere:
            headers = [o for o in self.options.values() if o.name in ("httpheader", "cookie")]
            options += all_logins + (headers if not options else [])
        if not options:
            raise expression.Unclear("no CURLOPT(userpwd) says who sends")
        if any(option.unread or not option.is_login for option in options):
            raise expression.Unclear(
                "the CURLOPT(userpwd) that says who sends cannot be read: write it as"
                " Set(CURLOPT(userpwd)=USER:PASSWORD), with \\; for a semicolon"
            )
        logins = {self.flow.resolve(option.step)(option.value) for option in options}
        if len(logins) > 1:
            raise expression.Unclear(
                "several CURLOPT(userpwd) may say who sends: set it in this extension, above"
            )
        known = logins.pop()
        if known is None:
            raise expression.Unclear(
                "the value of CURLOPT(userpwd) cannot be resolved: write it out"
            )
        return options[0].value, known
