"""A process group over TCP: one connection for every pair of members (see docs/design/0002).

The thread that drives it moves bytes for all peers in turn, straight between tensors and the kernel, and sleeps in
``poll`` when nothing moves. ``abort`` shuts the sockets, which wakes that thread here and at every peer: this is how
a generation ends within a millisecond of the coordinator's word, whoever is waiting for whom.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping

from pliant.comm.base import Handler
from pliant.comm.channel import Channel
from pliant.errors import ConnectionLostError, GenerationOverError, ProtocolError
from pliant.timeouts import Timeouts

EXCHANGE_KIND = 1
MAX_EXCHANGE_BYTES = 64 << 20


class MeshGroup:
    """A :class:`pliant.comm.base.Group` over connected sockets."""

    def __init__(
        self,
        generation: int,
        rank: int,
        sockets: Mapping[int, socket.socket],
        *,
        names: Mapping[int, str] | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        """Args: ``sockets`` and ``names`` (the workers', for messages) by rank; ``timeouts``: when a link is dead."""
        self.generation = generation
        self.rank = rank
        self.size = len(sockets) + 1
        self.unreachable: str | None = None
        """The worker that does not answer any more."""
        self._timeouts = timeouts or Timeouts()
        names = names or {}
        self._channels = {
            peer: Channel(sock, peer, name=names.get(peer), timeouts=self._timeouts)
            for peer, sock in sorted(sockets.items())
        }
        self._look_at_s = 0.0
        self._lock = threading.Lock()
        self._aborted = False
        self._closed = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK)

    @property
    def aborted(self) -> bool:
        """True once ``abort`` has been called."""
        return self._aborted

    @property
    def peers(self) -> list[int]:
        """The other ranks, in order."""
        return list(self._channels)

    @property
    def bytes_sent(self) -> int:
        """Bytes sent to all peers so far."""
        return sum(channel.bytes_sent for channel in self._channels.values())

    @property
    def bytes_received(self) -> int:
        """Bytes received from all peers so far."""
        return sum(channel.bytes_received for channel in self._channels.values())

    def post(self, peer: int, kind: int, index: int, body: memoryview | bytes) -> None:
        """Queue a frame for ``peer``."""
        self._channels[peer].post(kind, index, body)

    def drive(self, handler: Handler, done: Callable[[], bool]) -> None:
        """Move bytes until ``done()`` and nothing is queued. See :class:`pliant.comm.base.Group`."""
        while True:
            if self._aborted:
                raise GenerationOverError(f"generation {self.generation} is over")
            finished = done()  # first, because it may post frames and make room for those that wait
            progress = False
            try:
                for channel in self._channels.values():
                    progress |= channel.flush()
                    progress |= channel.pump(handler)
                if not progress:
                    self._look()
            except ConnectionLostError as error:
                if self._aborted:
                    raise GenerationOverError(f"generation {self.generation} is over") from error
                self.unreachable = None if error.closed else error.peer
                raise
            if finished and not any(channel.sending for channel in self._channels.values()):
                return
            if not progress:
                self._sleep(handler)

    def _look(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + self._timeouts.look_s
            for channel in self._channels.values():
                channel.look(now_s=now_s)

    def _sleep(self, handler: Handler) -> None:
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        for channel in self._channels.values():
            mask = select.POLLOUT if channel.sending else 0
            if not channel.paused and handler.wants(channel.peer):
                mask |= select.POLLIN
            if mask:
                poll.register(channel.sock, mask)
        for fd, _ in poll.poll(1000 * self._timeouts.look_s):
            if fd == self._wake_fd:
                os.eventfd_read(self._wake_fd)

    def wake(self) -> None:
        """Have the driving thread look again."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake_fd, 1)

    def exchange(self, payload: bytes) -> list[bytes]:
        """Everyone's payload, in rank order. Payloads may differ in size, up to 64 MiB."""
        round_ = _Exchange(self.peers)
        for peer in self.peers:
            self.post(peer, EXCHANGE_KIND, 0, payload)
        self.drive(round_, round_.done)
        return [payload if rank == self.rank else bytes(round_.got[rank]) for rank in range(self.size)]

    def abort(self) -> None:
        """Shut all connections, from any thread, any number of times."""
        self._aborted = True
        for channel in self._channels.values():
            try:
                channel.sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # the peer was first
                continue
        self.wake()

    def close(self) -> None:
        """Close the sockets. The group must not be driven any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.close(self._wake_fd)
        for channel in self._channels.values():
            channel.sock.close()


class _Exchange:
    """Handler of one ``exchange``: a single frame from every peer."""

    def __init__(self, peers: list[int]) -> None:
        self._missing = set(peers)
        self.got: dict[int, memoryview] = {}

    def done(self) -> bool:
        return not self._missing

    def wants(self, peer: int) -> bool:
        return peer in self._missing

    def destination(self, peer: int, kind: int, index: int, size: int) -> memoryview:
        if kind != EXCHANGE_KIND or size > MAX_EXCHANGE_BYTES:
            raise ProtocolError(f"rank {peer} sent a frame of kind {kind} and {size} bytes in an exchange")
        return memoryview(bytearray(size))

    def received(self, peer: int, kind: int, index: int, body: memoryview) -> None:
        self.got[peer] = body
        self._missing.discard(peer)
