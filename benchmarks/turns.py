"""Two training jobs alive at once that train in turns, so that whatever else the machine does hits both alike.

A job trains for its warm-up and for each turn, then its main worker reports the seconds of the steps and waits. Two
named pipes for each job: ``NAME.done`` (a line of JSON for each turn) and ``NAME.go`` (one byte starts the next turn).
"""

from __future__ import annotations

import json
import os
import select
import time
from pathlib import Path

PATIENCE_S = 300.0


class Turnstile:
    """The training script's side. Only the main worker passes; the others wait for it in the next reduction."""

    def __init__(self, directory: str, name: str, *, warm_up: int, turn_steps: int) -> None:
        self._left, self._turn_steps = warm_up, turn_steps
        self._times_s: list[float] = []
        self._last_s: float | None = None
        self._done = self._go = -1
        if directory:
            self._done = os.open(Path(directory, f"{name}.done"), os.O_RDWR)
            self._go = os.open(Path(directory, f"{name}.go"), os.O_RDWR)

    def step_done(self) -> None:
        """Call right after ``optimizer.step()``. Blocks at the end of a turn until the next one."""
        now_s = time.perf_counter()
        if self._last_s is not None:
            self._times_s.append(now_s - self._last_s)
        self._left -= 1
        if self._left == 0 and self._done >= 0:
            os.write(self._done, json.dumps(self._times_s).encode() + b"\n")
            os.read(self._go, 1)
            self._times_s, self._left = [], self._turn_steps
            now_s = time.perf_counter()
        self._last_s = now_s


class Gate:
    """The harness's side of one job's turnstile."""

    def __init__(self, directory: Path, name: str) -> None:
        for ending in ("done", "go"):
            os.mkfifo(directory / f"{name}.{ending}")
        self._done = os.open(directory / f"{name}.done", os.O_RDWR)
        self._go = os.open(directory / f"{name}.go", os.O_RDWR)
        self._buffer = b""

    def open(self) -> None:
        """Let the job train for a turn."""
        os.write(self._go, b"\n")

    def times_s(self) -> list[float] | None:
        """The seconds of the turn's steps; None if the turn is not over within a second."""
        if b"\n" not in self._buffer and select.select([self._done], [], [], 1.0)[0]:
            self._buffer += os.read(self._done, 65536)
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        return [float(value) for value in json.loads(line)]

    def close(self) -> None:
        """Give the pipes back."""
        os.close(self._done)
        os.close(self._go)
