"""An SMS API that takes 100 ms: `python -IS slow.py PORT`, plain HTTP, any number at once.

nginx alone cannot wait, so it passes the slow calls on to this (and does the TLS itself). Uses the
standard library alone and none of our modules.
"""

import asyncio
import re
import sys
from contextlib import suppress

DELAY = 0.1  # seconds
_BODY = b'{"type":"result","result":"Success"}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            await asyncio.sleep(DELAY)
            writer.write(_ANSWER)
            await writer.drain()
    writer.close()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
