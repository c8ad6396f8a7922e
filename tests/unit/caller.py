"""An Asterisk that calls a running service: over FastAGI, or as a script that hands over."""

import os
import socket
import struct
from pathlib import Path

from tests.unit.fakes import ENVIRONMENT, FakeAsterisk

FASTAGI = b"agi_network: yes\nagi_network_script: sms\n" + ENVIRONMENT + b"\n"
SMS = {"SMS_NUMBER": "+39333123456", "SMS_MESSAGE": "A private text"}


class Call:
    """One call over FastAGI; ``variables`` are the channel's."""

    def __init__(self, port: int, **variables: str) -> None:
        self._asterisk = FakeAsterisk(SMS | variables, b"")
        self._peer = socket.create_connection(("127.0.0.1", port))
        self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 30, 0))
        self._peer.sendall(FASTAGI)

    def end(self, hang_up: bool = False) -> dict[str, str]:
        """Answer until the service has ended the call; what it has left.

        One that hangs up does so when the request goes out.
        """
        with self._peer:
            _answer(self._asterisk, self._peer.fileno(), self._peer.fileno(), hang_up)
        return {name: value.decode() for name, value in self._asterisk.variables.items()}


def hand_over(path: Path) -> dict[str, str]:
    """One call by a script that passes its streams; what it has left."""
    asterisk = FakeAsterisk(SMS, b"")
    (there, ours), (reading, theirs) = os.pipe(), os.pipe()
    with socket.socket(socket.AF_UNIX) as service:
        service.settimeout(30)
        service.connect(str(path))
        assert service.recv(16) == b"READY\n"
        socket.send_fds(service, [bytes(4)], [there, theirs])
        os.close(there)
        os.close(theirs)
        os.write(ours, ENVIRONMENT + b"\n")
        _answer(asterisk, reading, ours)
    os.close(ours)
    os.close(reading)
    return {name: value.decode() for name, value in asterisk.variables.items()}


def _answer(asterisk: FakeAsterisk, reading: int, writing: int, hang_up: bool = False) -> None:
    asterisk.take()  # its own environment: this one's was sent
    buffer = b""
    while chunk := os.read(reading, 65536):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            asterisk.write(line + b"\n")
            os.write(writing, asterisk.take())
            if hang_up and asterisk.value("SMS_STATUS") == "ERROR":
                return
