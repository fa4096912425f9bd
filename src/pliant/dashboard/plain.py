"""Lines instead of a live view: for pipes, logs and CI. Needs nothing but the standard library."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from pliant.dashboard.words import cost, is_over, progress, workers_change
from pliant.wire.api import Event, JobStatus

PROGRESS_EVERY_S = 5.0


def event_line(event: Event) -> str:
    """One event: where, what, and what it cost as far as is known."""
    change, price = workers_change(event), cost(event)
    tail = "".join(f" · {part}" for part in (change and f"workers {change}", price) if part)
    return f"[step {event.step:,}] {event.message}{tail}"


def cost_line(event: Event) -> str | None:
    """The cost of an event that was printed before its cost was known."""
    price = cost(event)
    return f"[step {event.step:,}] {event.kind.replace('_', ' ')}: {price}" if price else None


def worker_line(worker: str | None, text: str) -> str:
    """A worker's line, named if it needs a name."""
    return text if worker is None else f"{worker} │ {text}"


class PlainView:
    """Worker lines to ``out``; everything else, a line each, to ``err``.

    Args:
        out: Takes what the script prints.
        err: Takes events, progress and notes.
        quiet: Leave out events, progress and notes.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        out: TextIO | None = None,
        err: TextIO | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._quiet = quiet
        self._clock = clock
        self._told_s = clock()
        self._told_step = -1
        self._priced: dict[int, bool] = {}

    def start(self) -> None:
        """Nothing to prepare."""

    def status(self, status: JobStatus) -> None:
        """A progress line every few seconds, when there was progress."""
        due = self._clock() - self._told_s >= PROGRESS_EVERY_S
        if (due or is_over(status)) and status.step > self._told_step:
            self._told_s, self._told_step = self._clock(), status.step
            self._say(progress(status))

    def event(self, event: Event) -> None:
        """A line for a new event, and one more when its stall becomes known."""
        known = event.stall_s is not None
        if event.seq not in self._priced:
            self._say(event_line(event))
        elif known and not self._priced[event.seq]:
            line = cost_line(event)
            if line is not None:
                self._say(line)
        self._priced[event.seq] = known or self._priced.get(event.seq, False)

    def line(self, worker: str | None, text: str) -> None:
        """Printed as it is."""
        print(worker_line(worker, text), file=self._out, flush=True)

    def note(self, text: str) -> None:
        """A line on the error stream."""
        self._say(text)

    def close(self) -> None:
        """Nothing to restore."""

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=self._err, flush=True)
