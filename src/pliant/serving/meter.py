"""What the router measures of its replicas: how long a batch takes, how fast they are, how long they start. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

_WEIGHT = 0.2
FIRST_START_S = 0.15
"""A start's length before one was seen."""
RECENT_S = 10.0
"""How far back latencies are looked at."""
MOST_RECENT = 4096
"""And how many of them are kept."""


@dataclass
class Meter:
    """Exponentially weighted means, a fifth for the newest."""

    batch_s: float = 0.0
    """Of a batch, from its sending to its answer; 0 before the first."""
    rate: float = 0.0
    """Requests a second of one replica while it is busy; 0 before the first batch."""
    start_s: float = FIRST_START_S
    """Of a replica, from asking for it to its hello."""
    answered: int = 0
    failed: int = 0
    refused: int = 0
    started: dict[int, float] = field(default_factory=dict)
    """Replica -> when it was asked for, for those that have not come yet."""
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MOST_RECENT))
    """(When it was answered, how long that took) of the newest requests."""

    def batch(self, requests: int, seconds: float) -> None:
        """One was answered."""
        rate = requests / max(seconds, 1e-6)
        first = self.batch_s == 0
        self.batch_s += (seconds - self.batch_s) * (1 if first else _WEIGHT)
        self.rate += (rate - self.rate) * (1 if first else _WEIGHT)
        self.answered += requests

    def took(self, now_s: float, seconds: float) -> None:
        """One request was answered so long after it came."""
        self.recent.append((now_s, seconds))

    def asked(self, replica: int, now_s: float) -> None:
        """A replica is to start."""
        self.started[replica] = now_s

    def came(self, replica: int, now_s: float) -> None:
        """It is there."""
        asked_s = self.started.pop(replica, None)
        if asked_s is not None:
            self.start_s += (now_s - asked_s - self.start_s) * _WEIGHT

    def absorb(self, other: Meter) -> None:
        """Count what a version did that is gone."""
        self.answered += other.answered
        self.failed += other.failed
        self.refused += other.refused
        self.recent.extend(other.recent)

    def gave_up(self, replica: int) -> None:
        """It will not come."""
        self.started.pop(replica, None)


def recent_latency(meters: Iterable[Meter], now_s: float) -> tuple[float, float] | None:
    """(Median, 99th percentile) in seconds of what was answered in the last ``RECENT_S``; None: nothing was."""
    found = sorted(took_s for meter in meters for at_s, took_s in meter.recent if at_s > now_s - RECENT_S)
    if not found:
        return None
    return found[ceil(0.5 * len(found)) - 1], found[ceil(0.99 * len(found)) - 1]
