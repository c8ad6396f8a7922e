"""The doors of a running service for calls: FastAGI over TCP, sms.agi over a Unix socket."""

import errno
import os
import socket
import struct
from collections.abc import Sequence
from functools import partial
from typing import Any

from asterisk.agi import AGIException

from dialplan_sms.agi.acceptors import Peer
from dialplan_sms.agi.call import call
from dialplan_sms.agi.capacity import Capacity
from dialplan_sms.agi.channel import LONGEST_READ, Channel
from dialplan_sms.agi.stream import Stream
from dialplan_sms.host.address import Network, is_in
from dialplan_sms.host.shortage import shortage
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.service import Service

READY = b"READY\n"
"""What the service says before a script hands its streams over."""
_GRACE = 3.0  # seconds of a dialogue beyond the longest call_timeout: the outcome is told last
_MOST_ASTERISKS = 1000  # of which it is remembered whether they take MSet
_MOST_ARGUMENTS = 128 * 1024  # bytes


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
        if host in ("127.0.0.1", "::1") or is_in(host, self._allowed):
            return Peer(connection, self._serve, self._capacity.call, host, LONGEST_READ)
        self._service.repeated("connection from {} refused: it is not in allow of sms.conf", host)
        return None

    def _serve(self, peer: Peer, objection: str) -> None:
        host, repeated = peer.address, self._service.repeated
        try:
            channel = Channel(peer.answer(_latest(self._service, peer, objection)))
            if channel.env.get("agi_network") != "yes":
                repeated("connection from {} dropped: it does not speak FastAGI", host)
                return
            path = channel.env.get("agi_network_script", "")
            if path == "check":  # dialplan-sms check: no call
                channel.send_command("NOOP")
                return
            # Whether this Asterisk sets several variables at once: found out at its first call.
            known = self._sets_together.get(host)
            channel.sets_together = channel.learn_to_set_together() if known is None else known
            refused = _busy(objection) or _wrong(path)
            handled = call(channel, self._service, None, peer.began, refused)
        except AGIException as gone:
            repeated("connection from {} ended before it said what to send: {}", host, gone)
            return
        if len(self._sets_together) >= _MOST_ASTERISKS:
            self._sets_together.clear()
        self._sets_together[host] = channel.sets_together
        peer.connection.close()  # which need not wait for the log
        self._service.log(handled)


def _wrong(path: str) -> Refused | None:
    if path.partition("?")[0].strip("/") == "sms":
        return None
    reason = "is no path of this service: write agi://host/sms"
    return Refused(Cause.CONFIG, f"/{path[:40]} {reason}", f"the path {reason}")


class HandOver:
    """Lets in scripts that pass their stdin and stdout: see sms.agi for the other side.

    In two phases, so that never both do the job: the script gives its streams away only once the
    service has said that it is ready. They have room even if FastAGI's calls take up all of theirs.
    """

    def __init__(self, service: Service, capacity: Capacity) -> None:
        self._service = service
        self._enter = partial(capacity.call, reserve=True)

    def __call__(self, connection: socket.socket, _: Any) -> Peer | None:
        """A call, of this service's own user."""
        whose = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", whose)[1] in (0, os.geteuid()):
            return Peer(connection, self._serve, self._enter)
        self._service.repeated("a script of another user was refused")
        return None

    def _serve(self, peer: Peer, objection: str) -> None:
        connection, files = peer.connection, list[int]()
        connection.settimeout(5)
        try:
            for file in os.pipe():  # without two descriptors left, the script can still go on
                os.close(file)
            connection.sendall(READY)
            data, files, flags, _ = socket.recv_fds(connection, 65536, 2)
            if len(files) != 2:
                if flags & socket.MSG_CTRUNC:
                    raise OSError(errno.EMFILE, "its streams were lost")
                return  # it gave up waiting, and does the job itself
            arguments = _arguments(connection, data)
            until = _latest(self._service, peer, objection)
            channel = Channel(Stream(files[0], files[1], until))
            handled = call(channel, self._service, arguments, peer.began, _busy(objection))
        except (OSError, AGIException) as gone:
            why = shortage(gone) or gone
            self._service.repeated("a script ended before it said what to send: {}", why)
            return
        finally:
            for file in files:
                os.close(file)
        connection.close()  # the script need not wait for the log
        self._service.log(handled)


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
    return data[4 : 4 + size].decode("utf-8", "replace").split("\0")[:-1]


def _busy(objection: str) -> Refused | None:
    """What a door objects to that has no room; None if *objection* is empty."""
    return Refused(Cause.BUSY, objection) if objection else None


def _latest(service: Service, peer: Peer, objection: str) -> float:
    """When a dialogue must be over; one that is told BUSY takes no more than a moment."""
    return peer.began + (0 if objection else service.longest) + _GRACE
