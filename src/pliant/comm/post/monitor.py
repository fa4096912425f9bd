"""What ZeroMQ notices of a socket's connections, as it happens."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

import zmq

FAILED = {
    int(zmq.EVENT_CLOSED): "nobody listens there",
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "the connection ended during the handshake",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "who listens there does not have this job's key",
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "who listens there does not take this job's key",
    int(zmq.EVENT_DISCONNECTED): "the connection was closed or its link is dead",
}
"""Events that end a connection, or an attempt at one."""
SUCCEEDED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
DISCONNECTED = int(zmq.EVENT_DISCONNECTED)
_EVENT = struct.Struct("=HI")
_numbers = itertools.count()


class Noticed(NamedTuple):
    """``value``: for most the descriptor of the connection."""

    event: int
    value: int


class Monitor:
    """Of one socket; to be made before it connects or binds."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], watched: zmq.Socket[bytes]) -> None:
        address = f"inproc://pliant-monitor-{next(_numbers)}"
        watched.monitor(address, sum({SUCCEEDED, *FAILED}))
        self.socket = context.socket(zmq.PAIR)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(address)

    def read(self) -> Iterator[Noticed]:
        """All that has come, in order."""
        while True:
            try:
                event, _endpoint = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            yield Noticed(*_EVENT.unpack(event))

    def close(self) -> None:
        """Before or after the socket that it watches."""
        self.socket.close()
