"""The stand-in for curl sends what curl sends."""

import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.asterisk import curl

DATA = ("--data-urlencode", "number=+39123456789", "--data-urlencode", "message=È così? 1 & 2 = 3")


@pytest.mark.slow  # needs curl
@pytest.mark.parametrize("how", [("-k", "-X", "POST"), ("-X", "POST"), (), ("-G",)])
def test_byte_for_byte(how: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        listener.settimeout(30)

        def sent(by: Callable[..., bytes]) -> bytes:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/api/sms"
            answer = thread.submit(by, "-s", *how, "-u", "101:sms101api", "--url", url, *DATA)
            peer, _ = listener.accept()
            with peer, peer.makefile("rb") as stream:
                head = b"".join(iter(stream.readline, b"\r\n"))
                length = re.search(rb"Content-Length: (\d+)", head)
                body = stream.read(int(length[1])) if length else b""
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            assert answer.result(30) == b"{}"
            head = re.sub(rb"(User-Agent: curl)/\S+", rb"\1", head)
            # In a URL, some versions write %2b, which is the same.
            return re.sub(b"%..", lambda found: found[0].upper(), head) + body

        assert sent(curl.stand_in) == sent(curl.real)
