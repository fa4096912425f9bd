"""HTTP answers: what is sent, and which status an error has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import msgspec

from pliant.serving.pending import FailKind, ServeError

STATUSES: dict[FailKind, int] = {
    "full": 429,
    "late": 504,
    "raised": 500,
    "killed": 500,
    "cut": 500,
    "stopping": 503,
    "broken": 503,
}


@dataclass
class Answer:
    """One response, whole."""

    status: int
    parts: Sequence[bytes | memoryview]
    kind: bytes = b"application/json"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def send(self, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        """Through ASGI."""
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        headers = [(b"content-type", self.kind), (b"content-length", str(len(body)).encode()), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(body)})


def told(status: int, content: Any) -> Answer:
    """JSON."""
    return Answer(status, [msgspec.json.encode(content)])


def failure(error: ServeError) -> Answer:
    """What a request gets that gets no answer."""
    answer = told(STATUSES[error.kind], {"error": str(error)})
    if error.retry_after_s is not None:
        answer.headers.append((b"retry-after", str(max(1, ceil(error.retry_after_s))).encode()))
    return answer
