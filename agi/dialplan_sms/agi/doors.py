"""The doors of a running service, for FastAGI and scripts of its host; how many calls they take."""

import contextlib
import errno
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from asterisk.agi import AGIException

from dialplan_sms.agi.acceptors import Door, Peer
from dialplan_sms.agi.call import call
from dialplan_sms.agi.channel import LONGEST_READ, Channel
from dialplan_sms.agi.stream import Stream
from dialplan_sms.host import shortage
from dialplan_sms.host.address import Network, is_in
from dialplan_sms.host.identity import current
from dialplan_sms.host.installation import make_run_folder
from dialplan_sms.sms.outcome import Cause, Refused
from dialplan_sms.sms.service import Service

SOCKET_VARIABLE = "DIALPLAN_SMS_SOCKET"
SOCKET = "/run/dialplan-sms/agi.sock"
READY = b"READY\n"  # before a script hands its streams over
_BACKLOG = 4096  # connections that may wait for accept(); net.core.somaxconn bounds it further
_GRACE = 3.0  # seconds of a dialogue beyond the longest call_timeout: the outcome is told last


class Closed(Exception):
    """The service has ended, as far as calls go."""


class Capacity:
    """How many calls are under way, of how many at most; the doors of a service share one."""

    def __init__(self, most: int) -> None:
        self.most = most
        # As many more have room that come from this host's own user: see hand_over().
        self.reserve = max(1, most // 4)
        self._changed = threading.Condition()
        self._began: dict[int, float] = {}
        self._closed = False

    @contextlib.contextmanager
    def call(self, reserve: bool = False) -> Iterator[bool]:
        """Count one call while it lasts; False if it is one too many. Raises Closed."""
        me = threading.get_ident()
        with self._changed:
            if self._closed:
                raise Closed
            fits = len(self._began) < self.most + (self.reserve if reserve else 0)
            if fits:
                self._began[me] = time.monotonic()
        try:
            yield fits
        finally:
            with self._changed:
                self._began.pop(me, None)
                self._changed.notify_all()  # only drain() waits

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return len(self._began)

    @property
    def oldest(self) -> float:
        """Seconds since the oldest call under way began; 0 if there is none."""
        with self._changed:
            return time.monotonic() - min(self._began.values()) if self._began else 0.0

    def drain(self, timeout: float) -> bool:
        """Wait for the calls under way to end, and take none from then on; whether they did."""
        with self._changed:
            drained = self._changed.wait_for(lambda: not self._began, timeout)
            self._closed = True
            return drained


def fastagi(service: Service, capacity: Capacity, allowed: Sequence[Network] = ()) -> Door:
    """Lets in connections of AGI(agi://host/sms)."""
    sets_together: dict[str, bool] = {}  # by the address of an Asterisk

    def serve(peer: Peer, refused: Refused | None) -> None:
        host, repeated = peer.address, service.repeated
        try:
            channel = Channel(peer.answer(_latest(service, peer, refused)))
            path = channel.env.get("agi_network_script", "")
            if channel.env.get("agi_network") != "yes":
                repeated("connection from {} dropped: it does not speak FastAGI", host)
            elif path == "check":  # dialplan-sms check: no call
                channel.send_command("NOOP")
            else:
                # Whether this Asterisk sets several variables at once: found out at its first call.
                known = sets_together.get(host)
                channel.sets_together = channel.learn_to_set_together() if known is None else known
                if refused is None and path.partition("?")[0].strip("/") != "sms":
                    why = "is no path of this service: write agi://host/sms"
                    refused = Refused(Cause.CONFIG, f"/{path[:40]} {why}", f"the path {why}")
                call(channel, service, None, peer.began, refused, peer.connection.close)
                if len(sets_together) >= 1000:
                    sets_together.clear()
                sets_together[host] = channel.sets_together
        except AGIException as gone:
            repeated("connection from {} ended before it said what to send: {}", host, gone)

    def admit(connection: socket.socket, address: Any) -> Peer | None:
        host: str = address[0]
        if host in ("127.0.0.1", "::1") or is_in(host, allowed):
            return Peer(connection, serve, capacity.call, host, LONGEST_READ)
        service.repeated("connection from {} refused: it is not in allow of sms.conf", host)
        return None

    return admit


def hand_over(service: Service, capacity: Capacity) -> Door:
    """Lets in scripts that pass their stdin and stdout, once they are told READY: see sms.agi.

    They have room even if FastAGI's calls take up all of theirs.
    """

    def serve(peer: Peer, refused: Refused | None) -> None:
        connection = peer.connection
        connection.settimeout(5)
        with contextlib.ExitStack() as given:
            given.callback(connection.close)
            try:
                for file in os.pipe():  # without two descriptors left, the script can still go on
                    os.close(file)
                connection.sendall(READY)
                data, files, flags, _ = socket.recv_fds(connection, 65536, 2)
                for file in files:
                    given.callback(os.close, file)
                if len(files) == 2:
                    arguments = _arguments(connection, data)
                    stream = Stream(files[0], files[1], _latest(service, peer, refused))
                    call(Channel(stream), service, arguments, peer.began, refused, given.close)
                elif flags & socket.MSG_CTRUNC:
                    raise OSError(errno.EMFILE, "its streams were lost")
                # Else it gave up waiting, and does the job itself.
            except (OSError, AGIException) as gone:
                why = shortage(gone) or gone
                service.repeated("a script ended before it said what to send: {}", why)

    def admit(connection: socket.socket, _: Any) -> Peer | None:
        whose = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", whose)[1] in (0, os.geteuid()):
            return Peer(connection, serve, partial(capacity.call, reserve=True))
        service.repeated("a script of another user was refused")
        return None

    return admit


def _arguments(connection: socket.socket, data: bytes) -> list[str]:
    """The script's arguments: four bytes of length, then NUL-terminated."""
    while len(data) < 4 + int.from_bytes(data[:4], "big"):
        chunk = connection.recv(65536)
        if not chunk:
            raise OSError("its arguments broke off")
        data += chunk
    return data[4:].decode("utf-8", "replace").split("\0")[:-1]


def _latest(service: Service, peer: Peer, refused: Refused | None) -> float:
    """When a dialogue must be over; one that is told BUSY takes no more than a moment."""
    return peer.began + (0 if refused else service.longest) + _GRACE


def listen_tcp(address: tuple[str, int], optional: bool = False) -> socket.socket | None:
    """A listening TCP socket, as SocketStream needs it; None if *optional* and not of this host."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        if optional:
            return None
        # Not strerror, in which create_server() repeats the address in Python's words.
        why = os.strerror(error.errno) if error.errno else "no reason given"
        raise OSError(
            f"cannot listen on {address[0]} port {address[1]}, {why}: stop what listens there, or"
            " set listen or monitor in sms.conf"
        ) from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    return listener


def listen_unix(path: Path) -> socket.socket | None:
    """The socket for sms.agi, which only root and this user may write to."""
    if not path.parent.is_dir():
        raise OSError(
            f"{path.parent} does not exist: as root, run {make_run_folder(path.parent, current())}"
            f" at each start of this host, or set {SOCKET_VARIABLE}"
        )
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(f"{path} is no socket: remove it, or set {SOCKET_VARIABLE}")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(f"{path}: another service answers there, stop it first")
        path.unlink()  # left behind by one that was killed
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(f"{path} cannot be made, {error.strerror}: set {SOCKET_VARIABLE}") from None
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener
