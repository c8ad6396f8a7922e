"""What is found in a dialplan."""

from dataclasses import dataclass, field

from dialplan_sms.migrate.dialplan import Step
from dialplan_sms.migrate.recipe import Request


@dataclass(slots=True)
class Recipe:
    """A step that sends an SMS the old way; *reason* is why it is not converted."""

    step: Step
    request: Request | None
    user: str = ""
    reason: str = ""
    option: "Option | None" = None


@dataclass(slots=True)
class Option:
    """``Set(CURLOPT(name)=value)``; *kept* where something else may need it."""

    step: Step
    name: str
    value: str = field(repr=False)
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Use:
    """A step that reads the reply of *sources*; *app* is what it becomes, None if nobody knows."""

    step: Step
    name: str
    sources: list[Recipe]
    app: str | None
