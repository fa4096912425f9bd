"""What a worker tells the coordinator while it trains: committed steps (the main one), its own state (all), both
batched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Literal

from pliant.training.crew import Crew
from pliant.training.position import Position
from pliant.wire.messages import StepsCommitted, WorkerProgress

Phase = Literal["rehearsing", "ready", "evaluating"]
COMMITS_S = 0.2
"""Commits are sent together, so often at most: each message costs both processes about a millisecond."""
PROGRESS_S = 0.25


class Progress:
    """Main thread only; sending never blocks it."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._times: list[float] = []
        self._losses: list[float | None] = []
        self._first = self._epoch = self._samples = 0
        self._sent = self._told = 0.0

    def before(self, step: int, *, main: bool) -> None:
        """A step is about to begin: the plan may have something for it."""
        if main and step in self._crew.milestones:
            self.flush()
            self._crew.milestone(step)

    def committed(self, position: Position, *, epoch: int, main: bool, shards: Sequence[int]) -> None:
        """A step has been committed and its update made; ``position`` is already the next one's."""
        now = time.monotonic()
        if main:
            if not self._times:
                self._first = position.step - 1
            self._times.append(now)
            loss = position.loss
            self._losses.append(loss if loss is not None and math.isfinite(loss) else None)
            self._epoch, self._samples = epoch, position.samples
            if now - self._sent >= COMMITS_S:
                self.flush()
        if now - self._told >= PROGRESS_S:
            self._told = now
            self._crew.tell(WorkerProgress(step=position.step, state="training", shards=list(shards)))

    def phase(self, step: int, state: Phase) -> None:
        """Something else than training begins."""
        self._told = 0.0
        self._crew.tell(WorkerProgress(step=step, state=state, shards=[]))

    def flush(self) -> None:
        """Send what is waiting."""
        if self._times:
            self._crew.tell(
                StepsCommitted(
                    first_step=self._first,
                    times_s=self._times,
                    losses=self._losses,
                    epoch=self._epoch,
                    samples=self._samples,
                )
            )
        self._times, self._losses, self._sent = [], [], time.monotonic()
