"""Where the SMS API is used, who sends, and whether each use is understood wholly."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from dialplan_sms.cli.migrate import request, shell
from dialplan_sms.cli.migrate.dialplan import Dialplan, Priority
from dialplan_sms.cli.migrate.expression import Unclear
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.cli.migrate.flow import SENDS, Flow, Room
from dialplan_sms.cli.migrate.replies import Recipe, Replies
from dialplan_sms.cli.migrate.senders import Senders
from dialplan_sms.cli.migrate.variables import Variables
from dialplan_sms.config.parser import ConfigError

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

    step: Priority
    name: str
    value: str = field(repr=False)
    unread: bool = False


class Finder:
    """What there is in one dialplan.

    Only *files* may change. *anonymous* is whether a request may leave open who sends.
    """

    def __init__(
        self,
        tree: Tree,
        dialplan: Dialplan,
        senders: Senders,
        files: set[Path],
        anonymous: bool = False,
    ) -> None:
        self.dialplan, self.senders, self.files = dialplan, senders, files
        self.flow = Flow(dialplan)
        self.variables = Variables(dialplan, self.flow)
        self.room = Room(tree, dialplan, self.flow, files)
        self._anonymous = anonymous
        self.recipes: list[Recipe] = []
        self.options: dict[int, Option] = {}
        self._others: list[Priority] = []  # CURL() for something else
        for step in dialplan.steps:
            self._look_at(step)
        self._logins = [option for option in self.options.values() if option.name == _LOGIN]
        self._foreign = self._find_foreign()
        for found in self.recipes:
            self._check(found)
        replies = Replies(dialplan, self.flow, self.variables, self.recipes, files)
        self.uses = replies.uses
        wanted = {found.user for found in self.recipes if not found.reason}
        for user in [user for user in senders.new if user not in wanted]:
            del senders.new[user]

    def _look_at(self, step: Priority) -> None:
        option = _OPTION.fullmatch(step.plain) or _ANY_OPTION.search(step.plain)
        if self.variables.uses_api(step):
            resolve = self.variables.resolve(step)
            read = shell.read if shell.is_curl(step.plain) else request.read
            try:
                self.recipes.append(Recipe(step, read(step.plain, resolve), {}))
            except Unclear as unclear:
                self.recipes.append(Recipe(step, None, {}, reason=str(unclear)))
        elif option and option.re is _OPTION:
            self.options[id(step)] = Option(step, option[1].lower(), option[2])
        elif self.variables.uses_curl(step):
            self._others.append(step)
        elif option:
            self.options[id(step)] = Option(step, option[1].lower(), option[2], unread=True)

    def _find_foreign(self) -> dict[str, Priority | None]:
        """Variables of ours that the old dialplan has for itself, and where it sets each."""
        sending = {step.key for step in self.dialplan.steps if SENDS.search(step.plain)}
        recipes = {id(found.step) for found in self.recipes}
        foreign: dict[str, Priority | None] = dict.fromkeys(self.dialplan.global_lines)
        for step in self.dialplan.steps:
            if step.context != "sub-sms" and step.key not in sending and id(step) not in recipes:
                foreign |= dict.fromkeys(step.writes, step)
        foreign |= {
            word: step for word, step in self.variables.unread.items() if step.key not in sending
        }
        return {name: step for name, step in foreign.items() if _OURS.fullmatch(name)}

    def _check(self, found: Recipe) -> None:
        """Refuse what is not understood wholly, and see who sends the rest."""
        if found.step.line.path not in self.files:
            found.refuse("not in the files to convert")
        found.refuse(self.room.refusal(found.step))
        if found.request is None:
            return
        given = self.variables.at(found.step)
        try:
            found.values = found.request.values(
                shell.unreplaced(given) if found.request.by_shell else given
            )
        except Unclear as unclear:
            found.refuse(str(unclear))
        except RecursionError:
            found.refuse("its values stand in each other too deep to be followed")
        if found.request.unwaited:
            found.refuse(_UNWAITED)
        for name, step in self._foreign.items():
            if name != "gsm" or "gsm" not in found.request.fields:
                line = step.line if step else self.dialplan.global_lines[name]
                found.refuse(
                    f"sets {name}, which sms.agi takes for its own from now on: give yours another"
                    " name, and convert again",
                    line.place,
                )
        try:
            self._see_who_sends(found, found.request)
        except (Unclear, ConfigError) as error:
            found.refuse(str(error))

    def _see_who_sends(self, found: Recipe, asked: request.ApiRequest) -> None:
        user, password, insecure = asked.user, asked.password, asked.insecure
        if not asked.by_shell:
            for name in sorted({option.name for option in self.options.values()} - _HARMLESS):
                if self._reaching(found.step, name)[0]:
                    raise Unclear(f"CURLOPT({name}) above it has no counterpart in sms.conf")
            insecure = any(
                self.variables.exact(found.step, f"CURLOPT({name})") in ("0", "no", "false", "off")
                for name in _INSECURE
            )
        if user and not asked.by_shell:
            above, _ = self._reaching(found.step, _LOGIN)
            if any(option.value != f"{user}:{password}" for option in above):
                raise Unclear("both its URL and CURLOPT(userpwd) say who sends: leave one")
        if not user and self._anonymous and not self._logins:
            return
        if not user:
            found.login, known = self._login(found.step)
            user, _, password = known.partition(":")
        if not found.reason:
            self.senders.take(user, password, asked.url, insecure)
        found.user = user

    def _reaching(self, step: Priority, name: str) -> tuple[list[Option], bool]:
        """The options of this name that hold at *step*, and whether there may be others."""

        def sets(above: Priority) -> bool:
            return id(above) in self.options and self.options[id(above)].name == name

        steps, elsewhere = self.flow.reaching(step, sets)
        return [self.options[id(above)] for above in steps], elsewhere

    def _login(self, step: Priority) -> tuple[str, str]:
        """CURLOPT(userpwd) on every way to *step*, as written and as meant. Raises Unclear."""
        options, elsewhere = self._reaching(step, _LOGIN)
        if elsewhere:
            headers = [o for o in self.options.values() if o.name in ("httpheader", "cookie")]
            options += self._logins + (headers if not options else [])
        if not options:
            raise Unclear("no CURLOPT(userpwd) says who sends")
        if any(option.unread or option.name != _LOGIN for option in options):
            raise Unclear(
                "the CURLOPT(userpwd) that says who sends cannot be read: write it as"
                " Set(CURLOPT(userpwd)=USER:PASSWORD), with \\; for a semicolon"
            )
        logins = {self.variables.resolve(option.step)(option.value) for option in options}
        known = logins.pop()
        if logins:
            raise Unclear(
                "several CURLOPT(userpwd) may say who sends: set it in this extension, above"
            )
        if known is None:
            raise Unclear("the value of CURLOPT(userpwd) cannot be resolved: write it out")
        return options[0].value, known

    @property
    def curl_stays(self) -> bool:
        """Whether a CURL() is left, to which the options may belong."""
        return bool(self._others) or any(
            found.reason and not (found.request and found.request.by_shell)
            for found in self.recipes
        )
