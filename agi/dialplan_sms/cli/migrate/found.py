"""What is found in a dialplan."""

from dataclasses import dataclass, field

from dialplan_sms.cli.migrate.dialplan import Step
from dialplan_sms.cli.migrate.files import Place
from dialplan_sms.cli.migrate.recipe import Request


@dataclass(slots=True)
class Recipe:
    """A step that sends an SMS the old way; *reason* is why it is not converted.

    *reader* is the line that the reason is about, where it is not the step's own.
    """

    step: Step
    request: Request | None
    user: str = ""
    reason: str = ""
    reader: Place | None = None
    option: "Option | None" = None

    def refuse(self, reason: str, reader: Place | None = None) -> None:
        """It is not converted; the first reason stays."""
        if reason and not self.reason:
            self.reason, self.reader = reason, reader


@dataclass(slots=True)
class Option:
    """``Set(CURLOPT(name)=value)``; *kept* where something else may need it.

    *unread* is a login that is written in another way; *idle* one that nothing is known to use.
    """

    step: Step
    name: str
    value: str = field(repr=False)
    kept: bool = True
    unread: bool = False
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A step that reads the reply of *sources*; *app* is what it becomes, None if nobody knows.

    *late* is whether another SMS may have been sent since, whose SMS_STATUS it would read.
    """

    step: Step
    name: str
    sources: list[Recipe]
    app: str | None
    late: bool = False
