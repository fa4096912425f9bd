"""Puts the bytes of one HTTP/1.1 answer together. Pure: no sockets, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_PID = re.compile(rb'"pid": *\[? *(\d+)')


@dataclass(frozen=True)
class Answer:
    """A whole one. ``closes``: the server will close the connection after it."""

    status: int
    body: bytes
    closes: bool

    @property
    def pid(self) -> int:
        """Of the process that computed it, as the model says; 0 if it does not."""
        found = _PID.search(self.body)
        return int(found[1]) if found else 0


class NoHttpError(ValueError):
    """What came is no HTTP answer."""


class AnswerReader:
    """One connection's. An answer is complete before the next request is sent, so nothing may come behind it."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Answer | None:
        """The answer, once it is whole.

        Raises:
            NoHttpError: These bytes are none, or there are more of them than the answer has.
        """
        data = self._data = self._data + data if self._data else data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = data[: head_end + 2]
        if not head.startswith(b"HTTP/1.1 "):
            raise NoHttpError(f"an answer begins with {head[:40]!r}")
        if length := _LENGTH.search(head):
            body = self._sized(head_end + 4, int(length[1]))
        elif _CHUNKED.search(head):
            body = self._chunked(head_end + 4)
        else:
            raise NoHttpError("an answer without a length")
        if body is None:
            return None
        self._data = b""
        return Answer(int(head[9:12]), body, bool(_CLOSE.search(head)))

    def _sized(self, begin: int, length: int) -> bytes | None:
        here = len(self._data) - begin
        if here > length:
            raise NoHttpError(f"{here - length} bytes behind the answer")
        return self._data[begin:] if here == length else None

    def _chunked(self, begin: int) -> bytes | None:
        parts = []
        while (line_end := self._data.find(b"\r\n", begin)) >= 0:
            size = int(self._data[begin:line_end].split(b";")[0], 16)
            begin = line_end + 2 + size + 2
            if len(self._data) < begin:
                return None
            if size == 0:
                return b"".join(parts)
            parts.append(self._data[line_end + 2 : begin - 2])
        return None
