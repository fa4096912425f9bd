"""Bytes to typed messages and back. JSON, checked against the type of each field; never anything unpickled.

Whatever arrives, the only error is :class:`~pliant.errors.ProtocolError`, with a text that can be shown to the
other side.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from pliant.errors import ProtocolError
from pliant.wire.agent_messages import AgentToCoordinator, CoordinatorToAgent
from pliant.wire.messages import CoordinatorToWorker, WorkerToCoordinator
from pliant.wire.server_talk import CoordinatorToServer, ServerToCoordinator

MAX_MESSAGE_BYTES = 1 << 20
"""Largest message of a worker or an agent, and the largest body of an HTTP request."""
MAX_ANSWER_BYTES = 64 << 20
"""Largest message of the coordinator: a welcome carries the results of all ended calls."""

Incoming = TypeVar("Incoming")

_encoder = msgspec.json.Encoder()


def encode(message: Any, *, limit_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """One message, or body of the HTTP API, as JSON. NaN and infinity become ``null``.

    Raises:
        ProtocolError: The message is larger than a receiver would take.
    """
    data = _encoder.encode(message)
    if len(data) > limit_bytes:
        raise ProtocolError(
            f"{type(message).__name__} has {len(data)} bytes as JSON, at most {limit_bytes} can be sent; "
            "results of evaluate() should be small values"
        )
    return data


class Decoder(Generic[Incoming]):
    """Decodes one direction of one conversation, for example all that workers may say."""

    def __init__(self, kind: Any, *, limit_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """Args: ``kind``: the type or union to decode to; ``limit_bytes``: longer input is refused unread."""
        self._decoder: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(kind)
        self._limit_bytes = limit_bytes

    def decode(self, data: bytes | str) -> Incoming:
        """The message in ``data``.

        Raises:
            ProtocolError: Too long, not JSON, or not a message of this direction. Nothing else is raised.
        """
        if len(data) > self._limit_bytes:
            raise ProtocolError(f"message of {len(data)} bytes; the limit is {self._limit_bytes}")
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProtocolError(f"not a valid message: {error}") from error


FROM_WORKER: Decoder[WorkerToCoordinator] = Decoder(WorkerToCoordinator)
FROM_AGENT: Decoder[AgentToCoordinator] = Decoder(AgentToCoordinator)
FROM_SERVER: Decoder[ServerToCoordinator] = Decoder(ServerToCoordinator)
TO_WORKER: Decoder[CoordinatorToWorker] = Decoder(CoordinatorToWorker, limit_bytes=MAX_ANSWER_BYTES)
TO_AGENT: Decoder[CoordinatorToAgent] = Decoder(CoordinatorToAgent, limit_bytes=MAX_ANSWER_BYTES)
TO_SERVER: Decoder[CoordinatorToServer] = Decoder(CoordinatorToServer, limit_bytes=MAX_ANSWER_BYTES)
