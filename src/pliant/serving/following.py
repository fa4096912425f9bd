"""Keeps a service at the newest weights of a running job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from pliant.serving.follower import Follower
from pliant.serving.weights_store import WeightsStore
from pliant.wire import service_api as wire
from pliant.wire.api import Weights
from pliant.wire.service_api import Follow

What = TypeVar("What")


class Followed(Protocol):
    """The service."""

    async def take(self, weights: Weights, *, canary: float) -> None:
        """Load them, and turn to them; what cannot be loaded is noted, and changes nothing."""

    def following_ended(self, why: str) -> None:
        """No more will come."""


class Following:
    """All methods belong to the event loop's thread.

    While weights are being loaded the next ones are asked for already, and of those that come the newest is taken: a
    service that loads more slowly than the job publishes leaves some out.
    """

    def __init__(self, service: Followed, follow: Follow, store: WeightsStore, *, after: int) -> None:
        """``after``: the first step whose weights are wanted."""
        self.follow = follow
        self.step: int | None = after - 1 if after else None
        """Of the weights that were taken last."""
        self._service = service
        self._newest: Weights | None = None
        self._over: str | None = None
        self._changed = asyncio.Event()
        self._ending = False
        came, over = self._in_loop(self._weights_came), self._in_loop(self._no_more)
        self._follower = Follower(follow, store.path, after=after, came=came, over=over)
        self._task: asyncio.Task[None] | None = None

    @property
    def told(self) -> wire.Following:
        """For the status."""
        return wire.Following(self.follow.job, self.follow.every, self.step)

    def start(self) -> None:
        """Begin to ask."""
        self._follower.start()
        self._task = asyncio.create_task(self._take_all())

    async def end(self) -> None:
        """Take nothing more; waits for what is being taken."""
        self._ending = True
        self._follower.stop()
        self._changed.set()
        if self._task is not None:
            await self._task

    async def _take_all(self) -> None:
        while True:
            while self._newest is None and self._over is None and not self._ending:
                self._changed.clear()
                await self._changed.wait()
            if self._ending:
                return
            newest, self._newest = self._newest, None
            if newest is not None:
                self.step = newest.step
                await self._service.take(newest, canary=self.follow.canary)
            elif self._over is not None:
                self._service.following_ended(self._over)
                return

    def _weights_came(self, weights: Weights) -> None:
        self._newest = weights
        self._changed.set()

    def _no_more(self, why: str) -> None:
        self._over = why
        self._changed.set()

    @staticmethod
    def _in_loop(call: Callable[[What], None]) -> Callable[[What], None]:
        """From the follower's thread; after the loop's end, nothing."""
        loop = asyncio.get_running_loop()

        def pass_on(what: What) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(call, what)

        return pass_on
