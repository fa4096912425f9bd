"""Letters on their way out of this process: queued until ZeroMQ takes them, tracked until it has let go of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import zmq

from pliant.comm.post.base import Buffer, Limits, PostFullError
from pliant.comm.post.envelope import check_letter

SHARED_BYTES = 64 << 10
"""From this size on a frame is sent from where it lies; below, copying is cheaper than keeping track."""
_LAST = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
"""As plain numbers: to combine flags takes as long as to send a frame."""


class OutgoingLetter:
    """One letter. Implements ``Sent``."""

    __slots__ = ("_frames", "_header", "_trackers", "size_bytes")

    def __init__(self, header: bytes, frames: Sequence[Buffer], limits: Limits) -> None:
        self._header = header
        self._frames = [memoryview(frame) for frame in frames]
        self.size_bytes = check_letter(header, self._frames, limits)
        self._trackers: list[zmq.MessageTracker] | None = None
        """None: not given to ZeroMQ yet."""

    @property
    def frames(self) -> int:
        """How many are still to be given away."""
        return len(self._frames)

    @property
    def done(self) -> bool:
        """See ``Sent``."""
        while self._trackers and self._trackers[-1].done:
            self._trackers.pop()
        return self._trackers == []

    def wait(self, timeout_s: float) -> bool:
        """See ``Sent``."""
        end_s = time.monotonic() + timeout_s
        for tracker in self._trackers or ():
            try:
                tracker.wait(max(0.0, end_s - time.monotonic()))
            except zmq.NotDone:
                break
        return self.done

    def give(self, socket: zmq.Socket[bytes], head: Sequence[bytes]) -> bool:
        """Hand it to ZeroMQ behind the frames ``head``. False: there is no room now, nothing was sent.

        Raises:
            zmq.ZMQError: A ROUTER does not know the receiver; nothing was sent.
        """
        try:
            socket.send(head[0], _MORE)
        except zmq.Again:
            return False
        parts = [*(memoryview(part) for part in (*head[1:], self._header)), *self._frames]
        trackers = []
        for index, part in enumerate(parts, start=1):
            flags = _MORE if index < len(parts) else _LAST
            try:
                tracker = socket.send(part, flags, copy=part.nbytes < SHARED_BYTES, track=True)
            except zmq.Again:
                break  # the connection is ending just now, as its monitor will tell: the letter is lost
            if tracker is not None and not tracker.done:
                trackers.append(tracker)
        self._frames, self._trackers = [], trackers
        return True

    def drop(self) -> OutgoingLetter:
        """It is never sent; the memory is free."""
        self._frames, self._trackers = [], []
        return self


class Outbox:
    """Letters to one peer that wait, and the number of the next."""

    def __init__(self, peer: str, limits: Limits) -> None:
        self._peer, self._limits = peer, limits
        self._waiting: deque[OutgoingLetter] = deque()
        self._waiting_bytes = 0
        self._next = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, letter: OutgoingLetter) -> None:
        """Queue a letter.

        Raises:
            PostFullError: Too much waits already.
        """
        count, size = len(self._waiting) + 1, self._waiting_bytes + letter.size_bytes
        if count > self._limits.queued_letters or size > self._limits.queued_bytes:
            raise PostFullError(
                f"{self._peer} takes nothing: {len(self._waiting)} letters of {self._waiting_bytes} bytes wait for it, "
                f"at most {self._limits.queued_letters} of {self._limits.queued_bytes} may: wait for its answers, "
                "or disconnect it"
            )
        self._waiting.append(letter)
        self._waiting_bytes = size

    def flush(self, give: Callable[[OutgoingLetter, int], bool]) -> None:
        """Give letters with their numbers away until there is no room."""
        while self._waiting and give(self._waiting[0], self._next):
            self._next += 1
            self._waiting_bytes -= self._waiting.popleft().size_bytes

    def clear(self) -> None:
        """Drop what waits, and begin to number anew."""
        for letter in self._waiting:
            letter.drop()
        self._waiting.clear()
        self._waiting_bytes = self._next = 0
