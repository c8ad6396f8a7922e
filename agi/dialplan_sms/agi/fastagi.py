"""The door of a running service for FastAGI, over TCP."""

import socket
from collections.abc import Sequence
from typing import Any

from asterisk.agi import AGIException

from dialplan_sms.agi.call import busy, call, latest
from dialplan_sms.agi.capacity import Capacity
from dialplan_sms.agi.channel import LONGEST_ENVIRONMENT, Channel
from dialplan_sms.agi.peer import Finish, Peer, PeerWithHead
from dialplan_sms.host.address import Network, is_in
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.service import Service

_MOST_PEERS = 1000
"""Asterisks of which it is remembered whether they take MSet."""


class FastAgi:
    """Lets in connections of AGI(agi://host/sms)."""

    def __init__(
        self, service: Service, capacity: Capacity, allowed: Sequence[Network] = ()
    ) -> None:
        self._service = service
        self._capacity = capacity
        self._allowed = allowed
        self._sets_together: dict[str, bool] = {}

    def __call__(self, connection: socket.socket, address: Any) -> Peer | None:
        """A call, once its environment is there."""
        host: str = address[0]
        if host not in ("127.0.0.1", "::1") and not is_in(host, self._allowed):
            self._service.counted(
                "connection from {} refused: it is not in allow of sms.conf", host
            )
            return None
        return PeerWithHead(connection, host, self._serve, self._capacity.call, LONGEST_ENVIRONMENT)

    def _serve(self, peer: PeerWithHead, objection: str) -> Finish | None:
        host = peer.address
        stream = peer.answer(latest(self._service, peer.began, objection))
        try:
            channel = Channel(stream)
            if channel.env.get("agi_network") != "yes":
                self._service.counted("connection from {} dropped: it does not speak FastAGI", host)
                return None
            if channel.env.get("agi_network_script") == "check":  # dialplan-sms check: no call
                channel.send_command("NOOP")
                return None
            channel.sets_together = self._learned(host, channel)
            refused = busy(objection) or _wrong_path(channel)
            handled = call(channel, self._service, None, peer.began, refused)
            self._sets_together[host] = channel.sets_together
        except AGIException as gone:
            self._service.counted(
                "connection from {} ended before it said what to send: {}", host, gone
            )
            return None
        return lambda: self._service.log(handled)

    def _learned(self, host: str, channel: Channel) -> bool:
        """Whether this Asterisk sets several variables at once; found out at its first call."""
        known = self._sets_together.get(host)
        if known is None:
            if len(self._sets_together) >= _MOST_PEERS:
                self._sets_together.clear()
            known = self._sets_together[host] = channel.learn_to_set_together()
        return known


def _wrong_path(channel: Channel) -> Refused | None:
    path = channel.env.get("agi_network_script", "")
    if path.partition("?")[0].strip("/") == "sms":
        return None
    reason = "is no path of this service: write agi://host/sms"
    return Refused(Cause.CONFIG, f"/{path[:40]} {reason}", f"the path {reason}")
