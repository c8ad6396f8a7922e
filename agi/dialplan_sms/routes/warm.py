"""The routes of a service, kept warm: one SmsApi a sender, with its open connections."""

import threading
import time
from collections.abc import Callable, Collection

from dialplan_sms.config.config import Sender
from dialplan_sms.routes.pbx import SmsApi, open_pool
from dialplan_sms.transport.deadline import Watchdog
from dialplan_sms.transport.resolver import Resolver


class Routes:
    """Gives the route of a sender; *connections* to a PBX stay open between SMS.

    All routes share one watchdog and one resolver.
    """

    def __init__(self, connections: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._connections = connections
        self._clock = clock
        self._watchdog = Watchdog(clock)
        self._resolver = Resolver()
        self._lock = threading.Lock()
        self._routes: dict[Sender, SmsApi] = {}

    def __call__(self, sender: Sender) -> SmsApi:
        """The sender's route. Raises ConfigError as open_pool does."""
        with self._lock:
            route = self._routes.get(sender)
            if route is None:
                pool = open_pool(sender, self._resolver, self._connections)
                route = SmsApi(sender, pool, self._clock, self._watchdog)
                self._routes[sender] = route
            return route

    @property
    def idle_connections(self) -> int:
        """Connections to PBXs that are open and wait for the next SMS."""
        with self._lock:
            return sum(route.idle_connections for route in self._routes.values())

    def keep(self, senders: Collection[Sender]) -> None:
        """Forget the routes of other senders; calls that use one finish on it."""
        with self._lock:
            self._routes = {s: route for s, route in self._routes.items() if s in senders}
