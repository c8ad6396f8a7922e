"""Where the SMS API is used: its requests, the options of CURL(), and who reads the replies."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from dialplan_sms.cli.migrate import curlcommand, recipe
from dialplan_sms.cli.migrate.answers import Answers
from dialplan_sms.cli.migrate.dialplan import Dialplan, Step, readings
from dialplan_sms.cli.migrate.expression import resolve
from dialplan_sms.cli.migrate.files import Tree
from dialplan_sms.cli.migrate.found import Option, Recipe
from dialplan_sms.cli.migrate.recipe import Lookup
from dialplan_sms.cli.migrate.room import Room
from dialplan_sms.cli.migrate.senders import Senders
from dialplan_sms.cli.migrate.value import Incomplete, Unclear
from dialplan_sms.config.parser import ConfigError

_OPTION = re.compile(r"Set\([ \t]*CURLOPT\((\w+)\)[ \t]*=(.*)\)", re.IGNORECASE)
_LOGIN = re.compile(r"CURLOPT\(userpwd\)[ \t]*=(.*)", re.IGNORECASE)
_TEMPLATE = (
    "its context is a template or made from one, and numbers of priorities matter in it:"
    " write n for them, or convert by hand"
)
_INSECURE = ("ssl_verifypeer", "ssl_verifyhost")


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
        self.room = Room(tree, dialplan, files)
        self.dialplan = dialplan
        self.senders = senders
        self.files = files
        self.anonymous = anonymous
        self.recipes: list[Recipe] = []
        self.options: list[Option] = []
        self.others: list[Step] = []  # CURL() for something else
        self._index: dict[int, int] = {}
        self._given: dict[str, list[str]] = {}
        self._sets: dict[tuple[tuple[str, str], str], list[int]] = defaultdict(list)
        for steps in dialplan.extensions.values():
            for number, step in enumerate(steps):
                self._index[id(step)] = number
                for name in step.assigned:
                    self._sets[step.key, name].append(number)
        for step in dialplan.steps:
            self._look_at(step)
        self._own_login = {
            id(found.step.line) for found in self.recipes if found.request and found.request.user
        }
        self._options_by_step = {id(option.step): option for option in self.options}
        self._insecure = {
            option.step.key if self._governs(option) else None
            for option in self.options
            if option.name in _INSECURE and option.value.strip() in ("0", "no", "false", "off")
        }
        self._userpwds = [option for option in self.options if option.name == "userpwd"]
        self._logins = {option.value for option in self._userpwds}
        for found in self.recipes:
            self._see_who_sends(found)
        answers = Answers(dialplan, self.recipes, self.before, files)
        answers.block()
        self.uses = answers.uses
        self._choose_options()
        wanted = {found.user for found in self.recipes if not found.reason}
        for user in [user for user in senders.new if user not in wanted]:
            del senders.new[user]

    def before(self, step: Step) -> Iterator[Step]:
        """The steps of the same extension above *step*, nearest first."""
        steps = self.dialplan.extensions[step.key]
        return (steps[number] for number in range(self._index[id(step)] - 1, -1, -1))

    def lookup(self, step: Step) -> Lookup:
        """How a variable is resolved at *step*; ``=NAME`` asks for an assignment just above."""

        def look(name: str) -> str | None:
            variable = name.lstrip("=")
            numbers = self._sets.get((step.key, variable), [])
            nearest = bisect_left(numbers, self._index[id(step)]) - 1
            above = (
                self.dialplan.extensions[step.key][numbers[nearest]].assigned[variable]
                if nearest >= 0
                else None
            )
            if name.startswith("=") or (above is not None and "$" not in above):
                return above
            values = {value for _, value in self.dialplan.assigned.get(name, ())}
            return values.pop() if len(values) == 1 else None

        return look

    def _literals(self, name: str) -> list[str]:
        if name not in self._given:
            given = dict.fromkeys(value for _, value in self.dialplan.assigned.get(name, ()))
            # An answer of CURL() is no text.
            self._given[name] = [value for value in given if not recipe.calls_curl(value)]
        return self._given[name]

    def _look_at(self, step: Step) -> None:
        option = _OPTION.fullmatch(step.plain)
        if option:
            self.options.append(Option(step, option[1].lower(), option[2]))
            return
        login = _LOGIN.search(step.plain)
        if login and not recipe.calls_curl(step.plain):
            self.options.append(Option(step, "userpwd", login[1], unread=True))
            return
        lookup = self.lookup(step)
        reason, calls = "", False
        for reading in readings(step):
            app = reading.plain
            if not recipe.calls_curl(app) or not recipe.is_sms(app, lookup):
                continue
            calls = True
            read = curlcommand.read if curlcommand.is_command(app) else recipe.read
            try:
                request = read(app, lookup, self._literals)
            except Incomplete as unclear:
                reason = reason or str(unclear)
            except Unclear as unclear:
                reason = str(unclear)
                break
            else:
                self.recipes.append(Recipe(reading, request))
                self._index[id(reading)] = self._index[id(step)]
                return
        if calls:
            self.recipes.append(Recipe(step, None, reason=reason))
        elif recipe.calls_curl(step.plain):
            self.others.append(step)
        elif recipe.API.search(step.plain) and not step.assigned:
            self.recipes.append(Recipe(step, None, reason="a way to the SMS API that is not known"))

    def _see_who_sends(self, found: Recipe) -> None:
        if found.step.line.path not in self.files:
            found.refuse("not in the files to convert")
        found.refuse(self.room.refusal(found.step))
        if found.step.context in self.dialplan.templates and not self.room.is_simple(found.step):
            # New priorities far behind would move the next "n" of whoever has these lines, too.
            found.refuse(_TEMPLATE)
        if found.request is None or found.reason:
            found.option = self._login_above(found.step)
            return
        user, password = found.request.user, found.request.password
        insecure = found.request.insecure
        try:
            if not user:
                if self.anonymous and not self._userpwds:
                    return
                found.option = self._userpwd(found.step)
                if found.option.unread:
                    raise Unclear(
                        "the CURLOPT(userpwd) that says who sends cannot be read: write it as"
                        " Set(CURLOPT(userpwd)=USER:PASSWORD), with \\; for a semicolon"
                    )
                known = resolve(found.option.value, self.lookup(found.option.step))
                if known is None:
                    raise Unclear("the value of CURLOPT(userpwd) cannot be resolved: write it out")
                user, _, password = known.partition(":")
            insecure = insecure or bool(self._insecure & {found.step.key, None})
            self.senders.take(user, password, found.request.url, insecure)
            found.user = user
        except (Unclear, ConfigError) as error:
            found.reason = str(error)

    def _login_above(self, step: Step) -> Option | None:
        options = (self._options_by_step.get(id(above)) for above in self.before(step))
        return next((option for option in options if option and option.name == "userpwd"), None)

    def _userpwd(self, step: Step) -> Option:
        above = self._login_above(step)
        if above is not None:
            return above
        if not self._userpwds:
            raise Unclear("no CURLOPT(userpwd) says who sends")
        if len(self._logins) > 1:
            raise Unclear(
                "several CURLOPT(userpwd) may say who sends: set it in this extension, above"
            )
        return self._userpwds[0]

    def _governs(self, option: Option) -> list[Step]:
        """The steps with CURL() of the option's extension that it holds for."""
        found = []
        after = self.dialplan.extensions[option.step.key][self._index[id(option.step)] + 1 :]
        for step in after:
            other = self._options_by_step.get(id(step))
            if other is not None and other.name == option.name:
                break
            if option.name == "userpwd" and id(step.line) in self._own_login:
                continue
            if recipe.calls_curl(step.plain) and not curlcommand.is_command(step.plain):
                found.append(step)
        return found

    def _choose_options(self) -> None:
        """Options go where every CURL() that they hold for goes."""
        gone = {id(found.step.line) for found in self.recipes if not found.reason}
        stay = self.others or any(found.reason for found in self.recipes)
        for option in self.options:
            governed = self._governs(option)
            if governed:
                option.kept = any(id(step.line) not in gone for step in governed)
            else:
                option.idle = self._is_idle(option)
                option.kept = bool(stay) or not gone or option.idle

    def _is_idle(self, option: Option) -> bool:
        """Whether it is a login that no CURL() of the SMS API uses, from wherever."""
        used: set[str | None] = {
            found.option.value if found.option else None
            for found in self.recipes
            if not curlcommand.is_command(found.step.plain)
            and id(found.step.line) not in self._own_login
        }
        # None is a recipe of which nobody knows who sends: it may be this one.
        return option.name == "userpwd" and not used & {option.value, None}
