"""How far a job is: its commits with their times and losses, as its main workers report them. Pure.

Reports may be repeated (a worker reconnected) and may leave a hole (the main worker died with commits that it had not
reported, and another one went on). Repeated steps are dropped. A hole is filled with steps of the usual length
after the last known commit, so that a stall after them keeps its length; their losses are unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from pliant.errors import ProtocolError
from pliant.wire.messages import StepsCommitted

_LARGEST_HOLE = 100_000
_RECENT = 50


class Progress:
    """Commits of one job, in order. Times are seconds of the workers' monotonic clock."""

    def __init__(self) -> None:
        self.origin_s: float | None = None
        """When the first generation was entered."""
        self.first_step = 0
        """The lists begin with this one: earlier steps are of another run, which left a checkpoint."""
        self.times_s: list[float] = []
        self.losses: list[float | None] = []
        self.epoch = 0
        self.samples = 0
        self.loss: float | None = None
        self.pushes: dict[int, int] = {}
        """Not synchronous: how many pushes came how many updates after their worker's pull."""

    @property
    def step(self) -> int:
        """Committed steps; also the number of the next step."""
        return self.first_step + len(self.times_s)

    def begin(self, now_s: float) -> None:
        """The first generation was entered. Later calls change nothing."""
        if self.origin_s is None:
            self.origin_s = now_s

    def add(self, message: StepsCommitted) -> int:
        """Take a report; returns how many commits in it were new.

        Raises:
            ProtocolError: The report contradicts itself. Nothing was taken.
        """
        _check(message, step=self.step)
        self._count_pushes(message.staleness)
        before = self.step
        known = before - message.first_step
        fresh = message.times_s[known:] if known > 0 else message.times_s
        if fresh:
            self.begin(fresh[0])
            self._fill(message.first_step, until_s=fresh[0])
            last_s = self._last_s()
            for time_s in fresh:
                last_s = max(time_s, last_s)
                self.times_s.append(last_s)
            losses = message.losses[-len(fresh) :]
            self.losses += losses
            self.loss = next((loss for loss in reversed(losses) if loss is not None), self.loss)
        if fresh or known == len(message.times_s):
            self.epoch = max(self.epoch, message.epoch)
            self.samples = max(self.samples, message.samples)
        return self.step - before

    def mean_staleness(self) -> float | None:
        """Updates between a pull and its push; None before there was a push."""
        pushes = sum(self.pushes.values())
        return sum(updates * times for updates, times in self.pushes.items()) / pushes if pushes else None

    def _count_pushes(self, told: dict[int, int]) -> None:
        # They are of the whole job: what has fewer was sent again, or counts from a checkpoint that was gone back to.
        if sum(told.values()) > sum(self.pushes.values()):
            self.pushes = dict(told)

    def finish(self, *, steps: int, samples: int, now_s: float) -> None:
        """A worker ended the script after ``steps``; fills what no main worker lived to report."""
        if 0 <= steps - self.step <= _LARGEST_HOLE:
            self._fill(steps, until_s=now_s)
        self.samples = max(self.samples, samples)

    def rewind(self, step: int, *, epoch: int, samples: int, loss: float | None) -> None:
        """All that was done from ``step`` on is lost, or was done in another run; the time that it took stays."""
        if step < self.first_step or not self.times_s:
            self.first_step, self.times_s, self.losses = step, [], []
        self._fill(step, until_s=self._last_s())  # a checkpoint may be newer than the last report
        kept = step - self.first_step
        del self.times_s[kept:], self.losses[kept:]
        self.epoch, self.samples, self.loss = epoch, samples, loss

    def recent_median_s(self) -> float:
        """Median of the latest step times; 0 if there is none yet."""
        return median_gap_s(self.times_s[-_RECENT:])

    def steps_per_s(self) -> float | None:
        """Speed over the latest commits; None before there are two."""
        latest = self.times_s[-_RECENT:]
        if len(latest) < 2 or latest[-1] <= latest[0]:
            return None
        return (len(latest) - 1) / (latest[-1] - latest[0])

    def _last_s(self) -> float:
        return self.times_s[-1] if self.times_s else (self.origin_s or 0.0)

    def _fill(self, step: int, *, until_s: float) -> None:
        if self.step >= step:
            return
        usual_s = self.recent_median_s()
        while self.step < step:
            self.times_s.append(max(self._last_s(), min(self._last_s() + usual_s, until_s)))
            self.losses.append(None)


def median_gap_s(times_s: Sequence[float]) -> float:
    """Median time between neighbours; 0 for fewer than two."""
    return median(later - earlier for earlier, later in pairwise(times_s)) if len(times_s) > 1 else 0.0


def _check(message: StepsCommitted, *, step: int) -> None:
    if len(message.times_s) != len(message.losses):
        raise ProtocolError(f"StepsCommitted with {len(message.times_s)} times but {len(message.losses)} losses")
    if message.first_step < 0 or message.epoch < 0 or message.samples < 0:
        raise ProtocolError("StepsCommitted with a negative first_step, epoch or samples")
    if any(updates < 0 or pushes < 0 for updates, pushes in message.staleness.items()):
        raise ProtocolError("StepsCommitted with a negative staleness, or a negative number of pushes")
    if message.first_step - step > _LARGEST_HOLE:
        raise ProtocolError(f"StepsCommitted from step {message.first_step} while the job is at step {step}")
    if not all(map(math.isfinite, message.times_s)):
        raise ProtocolError("StepsCommitted with a time that is not finite")
