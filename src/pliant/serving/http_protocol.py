"""HTTP/1.1 as uvicorn does it on httptools, less two things that harm a service.

* httptools puts no end to a request's head: a header of 100 MB becomes as much memory, copied again with each piece.
* It drops the body of a request that asks for another protocol, though HTTP lets a server ignore that (RFC 9110,
  section 7.8). Clients that try for HTTP/2 (Java's own at first, ``curl --http2``) send ``Upgrade: h2c`` with a POST.
"""

from __future__ import annotations

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 << 10
"""Of the request line and all headers."""
_UPGRADE = re.compile(rb"\r\n(?i:upgrade):[^\r\n]*(?=\r\n)")
_ANSWER = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"


class HttpProtocol(HttpToolsProtocol):
    """One connection. What is too long is answered with 431, and ends it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_bytes: int | None = 0
        """Of a head that has not come whole; None: a body comes."""

    def data_received(self, data: bytes) -> None:
        """Some bytes, from anywhere in a request to anywhere in a later one."""
        if self._head_bytes is None:
            super().data_received(data)
            return
        self._head_bytes += len(data)
        if b"pgrade:" in data or b"PGRADE:" in data:
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _UPGRADE.sub(b"", head + end) + rest
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse()

    def on_headers_complete(self) -> None:
        """A head has come whole: the request begins."""
        self._head_bytes = None
        size_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size_bytes > MOST_HEAD_BYTES:
            self._refuse()
            raise ValueError(f"a head of {size_bytes} bytes")  # ends the parser; send_400_response is called
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes now is the next request."""
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, if nothing better was said already."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            told = b'{"error":"the request line and the headers have more than %d bytes, which are taken at most"}'
            body = told % MOST_HEAD_BYTES
            self.transport.write(_ANSWER + b"content-length: %d\r\n\r\n" % len(body) + body)
            self.transport.close()
