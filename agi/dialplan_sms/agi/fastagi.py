"""The doors of a running service: FastAGI over TCP, and the thin sms.agi over a Unix socket."""

import errno
import os
import socket
import struct
import time
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from asterisk.agi import AGIException

from dialplan_sms.agi.acceptors import Capacity
from dialplan_sms.agi.call import call
from dialplan_sms.agi.channel import LONGEST_ENVIRONMENT, Channel
from dialplan_sms.agi.stream import Stream
from dialplan_sms.agi.visit import Finish, Paragraph, Visit
from dialplan_sms.host.shortage import shortage
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.service import Service

READY = b"READY\n"
"""What the service says before a script hands its streams over."""
_MOST_ARGUMENTS = 128 * 1024
_MOST_PEERS = 1000
"""Asterisks whose abilities are remembered."""
_GRACE = 3.0
"""Seconds that a dialogue may last beyond the longest call_timeout: the outcome is told last."""

Networks = Sequence[IPv4Network | IPv6Network]


class FastAgi:
    """Lets in connections of AGI(agi://host/sms)."""

    def __init__(self, service: Service, capacity: Capacity, allowed: Networks = ()) -> None:
        self._service = service
        self._capacity = capacity
        self._allowed = allowed
        self._sets_together: dict[str, bool] = {}

    def __call__(self, connection: socket.socket, address: Any) -> Visit | None:
        """A call, once the environment is there: what has not said that is none."""
        peer: str = address[0]
        if not self._allows(peer):
            self._service.repeated(
                "connection from {} refused: it is not in allow of sms.conf", peer
            )
            return None
        return Paragraph(connection, peer, self._serve, self._capacity.call, LONGEST_ENVIRONMENT)

    def _serve(self, visit: Paragraph, objection: str) -> Finish | None:
        peer = visit.peer
        stream = visit.go(_until(visit.began, self._service, objection))
        try:
            channel = Channel(stream, stream)
            if channel.env.get("agi_network") != "yes":
                self._service.repeated(
                    "connection from {} dropped: it does not speak FastAGI", peer
                )
                return None
            if channel.env.get("agi_network_script") == "check":  # dialplan-sms check: no call
                channel.send_command("NOOP")
                return None
            channel.sets_together = self._learned(peer, channel)
            refused = _busy(objection) or _wrong_path(channel)
            handled = call(channel, self._service, None, visit.began, refused)
            self._sets_together[peer] = channel.sets_together
        except AGIException as gone:
            self._service.repeated(
                "connection from {} ended before it said what to send: {}", peer, gone
            )
            return None
        return lambda: self._service.log(handled)

    def _learned(self, peer: str, channel: Channel) -> bool:
        """Whether this Asterisk sets several variables at once; found out at its first call."""
        known = self._sets_together.get(peer)
        if known is None:
            if len(self._sets_together) >= _MOST_PEERS:
                self._sets_together.clear()
            known = self._sets_together[peer] = channel.learn_to_set_together()
        return known

    def _allows(self, peer: str) -> bool:
        if peer in ("127.0.0.1", "::1"):
            return True
        address = ip_address(peer.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._allowed)


class HandOver:
    """Lets in scripts that pass their stdin and stdout: see sms.agi for the other side.

    In two phases, so that never both do the job: the script gives its streams away only once the
    service has said that it is ready. They find room where FastAGI's calls take up all of theirs.
    """

    def __init__(self, service: Service, capacity: Capacity) -> None:
        self._service = service
        self._enter = partial(capacity.call, reserve=True)

    def __call__(self, connection: socket.socket, _: Any) -> Visit | None:
        """A call, of this service's own user."""
        if peer_uid(connection) not in (0, os.geteuid()):
            self._service.repeated("a script of another user was refused")
            return None
        return Visit(connection, partial(self._serve, connection), self._enter)

    def _serve(self, connection: socket.socket, objection: str) -> Finish | None:
        began = time.monotonic()
        connection.settimeout(5)
        files: list[int] = []
        try:
            _make_sure_of_two_files()
            connection.sendall(READY)
            data, files, flags, _ = socket.recv_fds(connection, 65536, 2)
            if len(files) != 2:
                if flags & socket.MSG_CTRUNC:
                    raise OSError(errno.EMFILE, "its streams were lost")
                return None  # it gave up waiting, and does the job itself
            arguments = _arguments(connection, data)
            stream = Stream(files[0], files[1], _until(began, self._service, objection))
            channel = Channel(stream, stream)
            handled = call(channel, self._service, arguments, began, _busy(objection))
        except (OSError, AGIException) as gone:
            why = shortage(gone) or gone
            self._service.repeated("a script ended before it said what to send: {}", why)
            return None
        finally:
            for file in files:
                os.close(file)
        return lambda: self._service.log(handled)


def _make_sure_of_two_files() -> None:
    """Raise OSError where no descriptors are left for a script's streams: it can still go on."""
    for file in os.pipe():
        os.close(file)


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _arguments(connection: socket.socket, data: bytes) -> list[str]:
    """The script's arguments: four bytes of length, then NUL-terminated."""
    size = int.from_bytes(data[:4], "big")
    if size > _MOST_ARGUMENTS:
        raise OSError("too many arguments")
    while len(data) < 4 + size:
        chunk = connection.recv(65536)
        if not chunk:
            raise OSError("its arguments broke off")
        data += chunk
    texts = data[4 : 4 + size].split(b"\0")[:-1]
    return [text.decode("utf-8", "replace") for text in texts]


def _until(began: float, service: Service, objection: str) -> float:
    """When a dialogue must be over; one that is told BUSY takes no more than a moment."""
    return began + (0 if objection else service.longest) + _GRACE


def _busy(objection: str) -> Refused | None:
    return Refused(Cause.BUSY, objection) if objection else None


def _wrong_path(channel: Channel) -> Refused | None:
    path = channel.env.get("agi_network_script", "")
    if path.partition("?")[0].strip("/") == "sms":
        return None
    reason = "is no path of this service: write agi://host/sms"
    return Refused(Cause.CONFIG, f"/{path[:40]} {reason}", f"the path {reason}")
