"""Virtual time: a queue of things to happen."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Engine:
    """Runs callbacks in the order of their virtual times; equal times in the order of scheduling."""

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._scheduled = 0

    def at(self, time_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call ``call(*args)`` at virtual time ``time_s``."""
        self._scheduled += 1
        heapq.heappush(self._queue, (time_s, self._scheduled, call, args))

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call ``call(*args)`` after ``delay_s`` of virtual time."""
        self.at(self.now + delay_s, call, *args)

    def run(self, *, until: Callable[[], bool], most: int) -> bool:
        """Let things happen until ``until()``; False when nothing is left to happen, or ``most`` things did."""
        while not until():
            if not self._queue or self.happened >= most:
                return False
            self.now, _, call, args = heapq.heappop(self._queue)
            self.happened += 1
            call(*args)
        return True
