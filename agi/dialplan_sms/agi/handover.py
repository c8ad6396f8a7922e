"""The door of a running service for the thin sms.agi, over a Unix socket."""

import errno
import os
import socket
import struct
import time
from functools import partial
from typing import Any

from asterisk.agi import AGIException

from dialplan_sms.agi.call import busy, call, latest
from dialplan_sms.agi.capacity import Capacity
from dialplan_sms.agi.channel import Channel
from dialplan_sms.agi.peer import Finish, Peer
from dialplan_sms.agi.stream import Stream
from dialplan_sms.host.shortage import shortage
from dialplan_sms.sms.service import Service

READY = b"READY\n"
"""What the service says before a script hands its streams over."""
_MOST_ARGUMENTS = 128 * 1024


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
        if _peer_uid(connection) not in (0, os.geteuid()):
            self._service.counted("a script of another user was refused")
            return None
        return Peer(connection, partial(self._serve, connection), self._enter)

    def _serve(self, connection: socket.socket, objection: str) -> Finish | None:
        began = time.monotonic()
        connection.settimeout(5)
        files: list[int] = []
        try:
            _require_two_files()
            connection.sendall(READY)
            data, files, flags, _ = socket.recv_fds(connection, 65536, 2)
            if len(files) != 2:
                if flags & socket.MSG_CTRUNC:
                    raise OSError(errno.EMFILE, "its streams were lost")
                return None  # it gave up waiting, and does the job itself
            arguments = _arguments(connection, data)
            stream = Stream(files[0], files[1], latest(self._service, began, objection))
            channel = Channel(stream)
            handled = call(channel, self._service, arguments, began, busy(objection))
        except (OSError, AGIException) as gone:
            why = shortage(gone) or gone
            self._service.counted("a script ended before it said what to send: {}", why)
            return None
        finally:
            for file in files:
                os.close(file)
        return lambda: self._service.log(handled)


def _require_two_files() -> None:
    """Raise OSError if no descriptors are left for a script's streams: it can still go on."""
    for file in os.pipe():
        os.close(file)


def _peer_uid(connection: socket.socket) -> int:
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
