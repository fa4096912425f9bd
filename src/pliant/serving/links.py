"""The router's end of the Unix socket: frames from zygote, templates and replicas, and to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from pliant.errors import ProtocolError
from pliant.wire.replica_messages import Frame, FrameReader, Part, encode
from pliant.wire.service_api import OVER
from pliant.wire.unix_path import reachable

_log = logging.getLogger(__name__)


class LinkOwner(Protocol):
    """Who is told what comes."""

    def received(self, link: Link, head: Any, payload: bytes) -> None:
        """A frame."""

    def closed(self, link: Link) -> None:
        """The connection has ended."""


class Link(asyncio.Protocol):
    """One connection. ``who`` is set by the owner when it has said hello."""

    def __init__(self, owner: LinkOwner, kind: object) -> None:
        """``kind``: the frames that may come."""
        self._owner = owner
        self._reader: FrameReader[Any] = FrameReader(kind)
        self._transport: asyncio.WriteTransport | None = None
        self.who: int | None = None
        """The replica's number; 0 for a template or the zygote; None before the hello."""
        self.pid = 0
        self._process = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        """Put frames together."""
        try:
            for head, payload in self._reader.feed(data):
                self._owner.received(self, head, payload)
        except ProtocolError as error:
            _log.error("a connection (of replica %s) is closed: %s", self.who, error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        del exc
        self._owner.closed(self)
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    def introduce(self, who: int, pid: int) -> None:
        """It has said who it is. Its process is held by a descriptor: the number may be used again after its end."""
        self.who, self.pid = who, pid
        with contextlib.suppress(OSError):
            self._process = os.pidfd_open(pid)

    def send(self, head: Frame, payload: Sequence[Part] = ()) -> None:
        """Never blocks; what the kernel does not take is kept."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(encode(head, payload))

    def kill(self) -> None:
        """SIGKILL to the process, if it is there."""
        if self._process >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()


RETURN_S = 1.0
"""How long a process of an earlier router, which looks for the next one ten times a second, is waited for."""


async def listen_for(owner: LinkOwner, path: Path, kind: object, *, came: asyncio.Event) -> asyncio.Server:
    """As :func:`listen`, in a directory that is made if need be; if an earlier router listened there, whoever talked to
    it is waited for: ``came`` is set by the owner when they are here.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    (path.parent / OVER).unlink(missing_ok=True)
    survives = path.exists()
    server = await listen(owner, path, kind)
    if survives:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(came.wait(), RETURN_S)
    return server


async def listen(owner: LinkOwner, path: Path, kind: object) -> asyncio.Server:
    """Take connections at ``path``, over which frames of ``kind`` come.

    A socket that was left there by an earlier router is replaced.
    """
    path.unlink(missing_ok=True)
    old = os.umask(0o177)
    try:
        with reachable(path) as name:
            return await asyncio.get_running_loop().create_unix_server(lambda: Link(owner, kind), name, backlog=128)
    finally:
        os.umask(old)
