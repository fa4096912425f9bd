"""Which faults, at which steps. Pure and seeded: the same seed gives the same storm."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

FaultKind = Literal["kill", "hang", "coordinator"]
KINDS: dict[FaultKind, float] = {"kill": 0.8, "hang": 0.1, "coordinator": 0.1}
NEWCOMERS = 0.15
"""Share of the faults that would rather hit a worker that is only joining."""
LEAST_GAP = 0.3
"""The smallest gap between two faults, as a part of the mean one."""


@dataclass(frozen=True)
class Fault:
    """Due ``delay`` (a part of a step's time) after ``step`` was committed."""

    step: int
    delay: float
    kind: FaultKind
    newcomer: bool
    pick: float
    """In [0, 1): which of the possible victims."""


def schedule(*, seed: int, faults: int, first_step: int, gap_steps: float) -> list[Fault]:
    """So many faults, exponentially distributed gaps of ``gap_steps`` in the mean, in order of their steps."""
    stream = random.Random(seed)
    found: list[Fault] = []
    step = float(first_step)
    kinds, weights = list(KINDS), list(KINDS.values())
    for _ in range(faults):
        step += gap_steps * (LEAST_GAP + (1 - LEAST_GAP) * stream.expovariate(1.0))
        kind = stream.choices(kinds, weights)[0]
        found.append(Fault(int(step), stream.random() * 1.5, kind, stream.random() < NEWCOMERS, stream.random()))
    return found
