"""Heads of requests and answers without the e-mail parser of http.client, a third of the cost."""

import re
from collections.abc import Iterable
from http.client import (
    SWITCHING_PROTOCOLS,
    HTTPException,
    HTTPResponse,
    LineTooLong,
    UnknownProtocol,
)
from typing import BinaryIO

_LONGEST_LINE = 1 << 16
_MOST_HEADERS = 100
_MOST_BEFORE = 10  # answers with a status of 1xx before the one that counts
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Headers(dict[str, str]):
    """The headers of an answer by their names in small letters; of several the first."""

    def get_all(self, name: str, default: list[str] | None = None) -> list[str] | None:
        """As that of http.client's, which asks for it."""
        return [self[name.lower()]] if name.lower() in self else default


class Answer(HTTPResponse):
    """http.client's, but for how it reads its head: the body is still read there."""

    def begin(self) -> None:
        """Read the head. Raises HTTPException and OSError."""
        for _ in range(_MOST_BEFORE + 1):
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            headers = _headers(self.fp)
            if not 100 <= status < 200 or status == SWITCHING_PROTOCOLS:
                break  # others precede the answer
        else:
            raise HTTPException("no end of answers before the answer")
        old = version in ("HTTP/1.0", "HTTP/0.9")
        if not old and not version.startswith("HTTP/1."):
            raise UnknownProtocol(version)
        self.version = 10 if old else 11
        self.status, self.reason = status, reason.strip()
        self.headers = self.msg = headers  # type: ignore[assignment]
        self.chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        length = headers.get("content-length", "")
        known = not self.chunked and length.isascii() and length.isdigit()
        self.length = int(length[:18]) if known else None
        if status in (204, 304) or status < 200:
            self.length = 0
        closing: bool = self._check_close()  # type: ignore[attr-defined]
        self.will_close = closing or (not self.chunked and self.length is None)

    def _read_next_chunk_size(self) -> int:
        """Strictly: http.client takes -1, too, and reads without end then."""
        line = self.fp.readline(_LONGEST_LINE + 1)
        size = line.partition(b";")[0].strip()
        if not _CHUNK.fullmatch(size):
            self.close()
            raise HTTPException("no size of a chunk")
        return int(size, 16)


def _headers(file: BinaryIO) -> Headers:
    headers = Headers()
    for _ in range(_MOST_HEADERS + 1):
        line = file.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise LineTooLong("header line")
        if line in (b"\r\n", b"\n", b""):
            return headers
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    raise HTTPException(f"more than {_MOST_HEADERS} headers")


def request_head(path: str, headers: Iterable[tuple[str, str | bytes]]) -> bytes:
    """The head of a POST. Requests has seen to it that no value holds a newline."""
    lines = [f"POST {path} HTTP/1.1\r\n".encode()]
    for name, value in headers:
        encoded = value if isinstance(value, bytes) else value.encode("latin-1")
        lines.append(name.encode() + b": " + encoded + b"\r\n")
    return b"".join([*lines, b"\r\n"])
