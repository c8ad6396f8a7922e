"""What the sandbox has beside its API where it spools: the spool, and the page that shows it."""

from collections.abc import Callable

from starlette.responses import JSONResponse
from starlette.routing import Route

from dialplan_sms.sandbox.guard import guarded
from dialplan_sms.sandbox.pbx import Pbx
from dialplan_sms.sandbox.spool import Spool
from dialplan_sms.sandbox.switches import Switches
from dialplan_sms.web.http.listener import Address
from dialplan_sms.web.page.board import Board
from dialplan_sms.web.page.page import page
from dialplan_sms.web.relay.openapi import describe


class Site:
    """Has *pbx* spool what it takes; *routes* are those of the page, for who calls *address*.

    Raises OSError and OutboxError where there is no place for the spool.
    """

    def __init__(
        self, pbx: Pbx, pace: float, address: Address, note: Callable[[str], None]
    ) -> None:
        self.spool = Spool(pbx.gateways, pace, note)
        self._board = Board(self.spool.outbox, lambda: self.spool.gateways)
        routes = [
            Route("/openapi.json", lambda _: JSONResponse(describe(page=False))),
            *page(self._board, Switches(pbx, self.spool)),
        ]
        self.routes = guarded(routes, address)
        pbx.spool = self.spool.take

    def close(self) -> None:
        """Send no more, and remove what was spooled."""
        self._board.close()
        self.spool.close()
