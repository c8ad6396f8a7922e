"""What sends the SMS of this process: the Service without a door."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dialplan_sms.config.config import Config
from dialplan_sms.routes.warm import Routes
from dialplan_sms.sms.log import Handled
from dialplan_sms.sms.service import Service
from dialplan_sms.sms.sms import Draft

if TYPE_CHECKING:
    from dialplan_sms.outbox.store import Outbox

Handle = Callable[[Draft, Callable[[], None]], Handled]
"""Sends one SMS and logs it; calls the second argument just before it can have an effect."""


@contextmanager
def open_service(load: Callable[[], Config]) -> Iterator[Handle]:
    """What sends SMS as *load* configures it; connections and outbox stay open in the block.

    They are not closed if an exception ends the block: then the process ends at once.
    """
    opened: list[Outbox] = []

    def store(config: Config) -> "Outbox":
        from dialplan_sms.outbox.opening import open_outbox  # 0.4 s for who needs the outbox

        if not opened:
            opened.append(open_outbox(config))
        return opened[0]

    def handle(draft: Draft, going_out: Callable[[], None]) -> Handled:
        handled = service.handle(draft, going_out)
        service.log(handled)
        return handled

    service = Service(load, Routes(1), store=store)
    yield handle
    for outbox in opened:
        outbox.close()
