"""The blocking end of the router's Unix socket, in a template or a replica."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from pliant.wire.replica_messages import Frame, FrameReader, Part, encode
from pliant.wire.service_api import OVER
from pliant.wire.unix_path import reachable

Heads = TypeVar("Heads")
_log = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 18
ORPHAN_S = 60.0
"""Without a router for so long, whoever serves it ends."""
_RETRY_S = 0.1


class RouterGoneError(Exception):
    """The connection has ended."""


class FrameSocket(Generic[Heads]):
    """Sends and receives whole frames. For one thread."""

    def __init__(self, kind: object) -> None:
        self._kind = kind
        self._socket: socket.socket | None = None
        self._reader: FrameReader[Heads] = FrameReader(kind)
        self._ready: deque[tuple[Heads, bytes]] = deque()

    def serve(self, path: Path, *, hello: Callable[[], Frame], serve_one: Callable[[], bool]) -> None:
        """Greet one router after the other, and serve each until it is gone.

        Returns when ``serve_one`` does not want to go on, or when no router has come back in time.
        """
        while True:
            try:
                self.connect(path)
                self.send(hello())
                while serve_one():
                    pass
                return
            except RouterGoneError as error:
                _log.warning("%s; waiting for the next router", error)
                if not self.wait_for_router(path):
                    return

    def connect(self, path: Path) -> None:
        """Begin a new connection.

        Raises:
            RouterGoneError: Nobody listens.
        """
        self.close()
        self._reader, self._ready = FrameReader(self._kind), deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with reachable(path) as name:
                self._socket.connect(name)
        except OSError as error:
            self.close()
            raise RouterGoneError(f"no router listens at {path}: {error}") from error

    def wait_for_router(self, path: Path) -> bool:
        """Until one listens; False if none has come within ORPHAN_S, or the service is over or its directory gone."""
        end_s = time.monotonic() + ORPHAN_S
        while time.monotonic() < end_s and path.parent.exists() and not (path.parent / OVER).exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    with reachable(path) as name:
                        probe.connect(name)
                except OSError:
                    time.sleep(_RETRY_S)
                else:
                    return True
        return False

    def send(self, head: Frame, payload: Sequence[Part] = ()) -> None:
        """Blocks until the kernel has taken it.

        Raises:
            RouterGoneError: The connection has ended.
        """
        assert self._socket is not None
        try:
            for part in encode(head, payload):
                self._socket.sendall(part)
        except OSError as error:
            raise RouterGoneError(f"the router is gone: {error}") from error

    def receive(self) -> tuple[Heads, bytes]:
        """The next frame; blocks until it is there.

        Raises:
            RouterGoneError: The connection has ended.
            ProtocolError: What came is no frame.
        """
        assert self._socket is not None
        while not self._ready:
            try:
                data = self._socket.recv(_CHUNK_BYTES)
            except OSError as error:
                raise RouterGoneError(f"the router is gone: {error}") from error
            if not data:
                raise RouterGoneError("the router has closed the connection")
            self._ready.extend(self._reader.feed(data))
        return self._ready.popleft()

    @property
    def pending(self) -> bool:
        """Whether a frame has been read already: ``select`` would not see it."""
        return bool(self._ready)

    def fileno(self) -> int:
        """For ``select``."""
        assert self._socket is not None
        return self._socket.fileno()

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
