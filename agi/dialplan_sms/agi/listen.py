"""The sockets that a service listens on, and what is said if one cannot be had."""

import contextlib
import os
import socket
import stat
from pathlib import Path

SOCKET_VARIABLE = "DIALPLAN_SMS_SOCKET"
SOCKET = "/run/dialplan-sms/agi.sock"
_BACKLOG = 4096  # connections that may wait for accept(); net.core.somaxconn bounds it further


def listen_tcp(address: tuple[str, int], optional: bool = False) -> socket.socket | None:
    """A listening TCP socket; None if an *optional* address does not exist on this host.

    Its connections begin with TCP_NODELAY, and without TCP_QUICKACK (tcp(7)), for SocketStream.
    """
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
        raise OSError(f"{path.parent} does not exist: create it, or set {SOCKET_VARIABLE}")
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
