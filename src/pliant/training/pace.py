"""How long this worker needs for its shards: measured for dealing by speed, and prolonged on purpose."""

from __future__ import annotations

import time
from typing import Any

import torch

from pliant.membership.pace_plan import PaceEstimate

_CUDA: Any = torch.cuda
"""Parts of it are untyped."""


class Stopwatch:
    """Times the computing of a pass. Where the work is queued on a GPU, by the GPU's own clock."""

    def __init__(self) -> None:
        self._began_s = self._ended_s = 0.0
        self._marks: tuple[Any, Any] | None = None

    def start(self) -> None:
        """The first shard is about to be fetched. Does not wait for the GPU."""
        self._began_s = now_s()
        self._marks = None
        if _CUDA.is_initialized():
            self._marks = (_CUDA.Event(enable_timing=True), _CUDA.Event(enable_timing=True))
            self._marks[0].record()

    def stop(self) -> None:
        """The last shard's work is done, or queued. Does not wait for the GPU."""
        self._ended_s = now_s()
        if self._marks is not None:
            self._marks[1].record()

    def seconds(self) -> float | None:
        """From start to stop. Ask after the reduction; None if the GPU is not done even then."""
        if self._marks is None:
            return self._ended_s - self._began_s
        first, last = self._marks
        return float(first.elapsed_time(last)) / 1000 if last.query() else None


class PaceMeter:
    """Seconds per shard over the last passes of training. Main thread only."""

    def __init__(self) -> None:
        self._estimate = PaceEstimate()
        self._watch = Stopwatch()

    @property
    def pace(self) -> float:
        """For the others: see :class:`pliant.parallel.pass_messages.Flags`."""
        return self._estimate.pace

    def start(self) -> None:
        """A pass begins."""
        self._watch.start()

    def stop(self) -> None:
        """All shards that were dealt to this worker are computed."""
        self._watch.stop()

    def committed(self, *, shards: int, alike: bool) -> None:
        """The pass is committed.

        Args:
            shards: how many were computed between start and stop.
            alike: all of them had the usual number of samples; otherwise nothing is concluded.
        """
        if shards == 0:
            self._estimate.idle()
        elif alike:
            seconds = self._watch.seconds()
            if seconds is not None:
                self._estimate.measured(seconds / shards)


def now_s() -> float:
    """The clock of all that is here."""
    return time.perf_counter()


def dawdle(began_s: float, factor: float) -> None:
    """Make what began at ``began_s`` (see :func:`now_s`) take ``factor`` times as long. Blocking."""
    if factor > 1.0:
        if _CUDA.is_initialized():
            _CUDA.synchronize()
        time.sleep((factor - 1.0) * (now_s() - began_s))
