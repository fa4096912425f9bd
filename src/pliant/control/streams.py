"""Followers of the event stream: each has a queue of its own, so that a slow one holds nobody up."""

from __future__ import annotations

import asyncio

from pliant.wire.api import Event

_LONGEST_QUEUE = 10_000


class Follower:
    """One reader of the stream. ``overrun`` is set when it has fallen too far behind to be served."""

    def __init__(self, job: str | None) -> None:
        """``job``: only events of that one; None: all."""
        self.job = job
        self.overrun = False
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_LONGEST_QUEUE)

    def offer(self, event: Event) -> None:
        """Queue ``event`` if it is wanted."""
        if self.job in (None, event.job):
            try:
                self._queue.put_nowait(event)
            except asyncio.QueueFull:
                self.overrun = True

    async def next(self, timeout_s: float) -> Event | None:
        """The next event; None if none comes within ``timeout_s``."""
        try:
            return await asyncio.wait_for(self._queue.get(), timeout_s)
        except TimeoutError:
            return None


class Streams:
    """All followers."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()

    def __len__(self) -> int:
        return len(self._followers)

    def follow(self, job: str | None) -> Follower:
        """A new follower; hand it back with :meth:`leave`."""
        follower = Follower(job)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """It reads no more."""
        self._followers.discard(follower)

    def publish(self, event: Event) -> None:
        """Tell everyone."""
        for follower in self._followers:
            follower.offer(event)
