"""A process's post over ZeroMQ: its context, its connections in both directions, and one wait for all of them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import msgspec

from pliant.comm.post.base import Buffer, Event, HeaderT, Limits, Sent
from pliant.comm.post.client import ClientPost
from pliant.comm.post.keys import curve_keys
from pliant.comm.post.outbox import OutgoingLetter
from pliant.comm.post.place import Place
from pliant.comm.post.server import ROOM_PAUSE_S, ServerPost
from pliant.comm.post.watch import Watch
from pliant.comm.post.wiring import Wiring
from pliant.timeouts import Timeouts


@dataclass(frozen=True)
class PostOptions:
    """The same for all members of a job."""

    job_key: bytes = field(repr=False)
    """``handshake.job_key``."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)


class ZmqPost(Generic[HeaderT]):
    """Implements ``Post``. Belongs to the process that made it: a fork must make its own."""

    def __init__(
        self,
        name: str,
        *,
        decoder: msgspec.msgpack.Decoder[HeaderT],
        options: PostOptions,
        place: Place | None = None,
    ) -> None:
        """Listens at ``place``; without one it only connects.

        Args:
            name: by which the others know this process: ``w1``, ``s1``.
            decoder: makes the header of a letter from its bytes; what it refuses is dropped.
            options: of the job.
            place: where to listen.

        Raises:
            ConfigError: It cannot listen there.
        """
        self.name = name
        self._keys = curve_keys(options.job_key)
        self._wiring = Wiring(name, decoder=decoder, timeouts=options.timeouts, limits=options.limits)
        self._pid = os.getpid()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()
        self._woken = self._closed = self._isolated = False
        self._look_due_s = 0.0
        self._alone = Watch()
        for watch in (self._wiring.watch, self._alone):
            watch.add(self._wake_fd, self._wake_up)
        self._client = ClientPost(self._wiring, self._keys)
        self._server: ServerPost[HeaderT] | None = None
        _open.add(self)
        if place is not None:
            try:
                self._server = ServerPost(self._wiring, place, keys=self._keys)
            except BaseException:
                self.close(linger_s=0.0)
                raise

    @property
    def endpoint(self) -> str:
        """See ``Post``."""
        return "" if self._server is None else self._server.endpoint

    @property
    def timeouts(self) -> Timeouts:
        """Replaced once the user's choice is known; for connections that are made from then on."""
        return self._wiring.timeouts

    @timeouts.setter
    def timeouts(self, timeouts: Timeouts) -> None:
        self._wiring.timeouts = timeouts

    @property
    def dropped(self) -> int:
        """See ``Post``."""
        return self._wiring.dropped

    def connect(self, server: str, endpoint: str) -> None:
        """See ``Post``."""
        if not self._isolated:
            self._client.connect(server, endpoint)

    def disconnect(self, server: str) -> None:
        """See ``Post``."""
        self._client.disconnect(server)

    def send(self, server: str, header: bytes, frames: Sequence[Buffer] = ()) -> Sent | None:
        """See ``Post``."""
        letter = OutgoingLetter(header, frames, self._wiring.limits)
        return letter.drop() if self._isolated else self._client.send(server, letter)

    def answer(self, client: str, header: bytes, frames: Sequence[Buffer] = ()) -> Sent | None:
        """See ``Post``."""
        letter = OutgoingLetter(header, frames, self._wiring.limits)
        if self._isolated:
            return letter.drop()
        return None if self._server is None else self._server.answer(client, letter)

    def poll(self, timeout_s: float | None = None) -> list[Event[HeaderT]]:
        """See ``Post``."""
        end_s = None if timeout_s is None else self._wiring.now_s() + timeout_s
        if self._isolated:
            self._wiring.events.clear()
            self._alone.wait(timeout_s)
        while not self._isolated:
            now_s = self._turn(self._wait_s(end_s))
            if self._wiring.events or self._woken or (end_s is not None and now_s >= end_s):
                break
        self._woken = False
        events = self._wiring.events.copy()
        self._wiring.events.clear()
        return events

    def wake(self) -> None:
        """See ``Post``."""
        with self._wake_lock:
            if not self._closed:
                os.eventfd_write(self._wake_fd, 1)

    def isolate(self) -> None:
        """From now on neither send nor hear anything, for plans and tests: as ``comm/isolation.py``. Any thread."""
        self._isolated = True
        self.wake()

    def trouble(self) -> dict[str, str]:
        """See ``Post``."""
        return self._client.trouble()

    def close(self, *, linger_s: float | None = None) -> None:
        """See ``Post``; by default as long as a worker waits at its end (``Timeouts.dismissal_s``)."""
        with self._wake_lock:
            if self._closed or os.getpid() != self._pid:
                return
            self._closed = True
        if linger_s is None:
            linger_s = self._wiring.timeouts.dismissal_s
        end_s = self._wiring.now_s() + (0.0 if self._isolated else linger_s)
        while self._crowded and self._wiring.now_s() < end_s:
            self._turn(ROOM_PAUSE_S)
        linger_ms = max(0, round(1000 * (end_s - self._wiring.now_s())))
        self._client.close(linger_ms=linger_ms)
        if self._server is not None:
            self._server.close(linger_ms=linger_ms)
        self._wiring.context.destroy()
        if self._server is not None:
            self._server.clean()
        os.close(self._wake_fd)
        _open.discard(self)

    def _turn(self, wait_s: float) -> float:
        """Wait, then do what is to be done. Returns the time."""
        self._wiring.watch.wait(wait_s)
        now_s = self._wiring.now_s()
        self._client.advance(now_s)
        if self._server is not None:
            self._server.advance()
        if now_s >= self._look_due_s:
            self._look_due_s = now_s + self._wiring.timeouts.look_s
            self._client.look(now_s=now_s)
            if self._server is not None:
                self._server.look(now_s=now_s)
        return now_s

    @property
    def _crowded(self) -> bool:
        return self._client.crowded or (self._server is not None and self._server.crowded)

    def _wait_s(self, end_s: float | None) -> float:
        """How long nothing but what comes in can bring anything."""
        if self._wiring.events:
            return 0.0
        now_s = self._wiring.now_s()
        ends_s = [each for each in (end_s, self._client.due_s, self._look_due_s) if each is not None]
        if self._server is not None and self._server.crowded:
            ends_s.append(now_s + ROOM_PAUSE_S)
        return max(0.0, min(ends_s) - now_s)

    def _wake_up(self) -> None:
        os.eventfd_read(self._wake_fd)
        self._woken = True


_open: weakref.WeakSet[ZmqPost[Any]] = weakref.WeakSet()
_inherited: list[ZmqPost[Any]] = []
"""In a forked process: kept, because ZeroMQ would warn of sockets that go without having been closed."""
os.register_at_fork(after_in_child=lambda: _inherited.extend(_open))
