"""An Asterisk that calls a running service: over FastAGI, or as a script that hands over."""

import os
import socket
import struct
from pathlib import Path

from tests.unit.fakes import ENVIRONMENT
from tests.unit.process import VARIABLES, answer

FASTAGI = b"agi_network: yes\nagi_network_script: sms\n" + ENVIRONMENT + b"\n"


class Call:
    """One call over FastAGI with these variables of the channel."""

    def __init__(self, port: int, **variables: str) -> None:
        self._variables = VARIABLES | variables
        self._peer = socket.create_connection(("127.0.0.1", port))
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 30, 0))
        self._peer.sendall(FASTAGI)

    def end(self, hang_up: bool = False) -> dict[str, str]:
        """Answer until the service has ended the call; what it has left.

        One that hangs up does so when the request goes out.
        """
        with self._peer:
            return answer(self._variables, self._peer.fileno(), self._peer.fileno(), hang_up)


def hand_over(path: Path) -> dict[str, str]:
    """One call by a script that passes its streams; what it has left."""
    (there, ours), (reading, theirs) = os.pipe(), os.pipe()
    with socket.socket(socket.AF_UNIX) as service:
        service.settimeout(30)
        service.connect(str(path))
        assert service.recv(16) == b"READY\n"
        socket.send_fds(service, [bytes(4)], [there, theirs])
        os.close(there)
        os.close(theirs)
        os.write(ours, ENVIRONMENT + b"\n")
        left = answer(VARIABLES, reading, ours)
    os.close(ours)
    os.close(reading)
    return left
