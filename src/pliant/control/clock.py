"""The two clocks that a job's runtime reads, so that tests can bring their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """``monotonic``: seconds of CLOCK_MONOTONIC, the clock of workers' commit times. ``unix``: for people."""

    monotonic: Callable[[], float] = time.monotonic
    unix: Callable[[], float] = time.time
