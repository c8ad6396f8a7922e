"""What is printed with colours and as tables: all of it through this Console."""

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.segment import Segment

from dialplan_sms.host.terminal import clean


class Console(rich.console.Console):
    """As rich's, also in how it moves the cursor, with clean text; what is printed is no markup."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False} | options)

    def render(self, *what: Any, **options: Any) -> Iterable[Segment]:
        for segment in super().render(*what, **options):
            yield segment if segment.control else segment._replace(text=clean(segment.text))
