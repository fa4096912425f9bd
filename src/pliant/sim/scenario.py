"""What one seed means: the job, the weather on the network, and what is done to the workers."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

from pliant.ids import WorkerId

FaultKind = Literal[
    "kill",
    "kill_newcomer",
    "kill_all_but_one",
    "leave",
    "scale",
    "ambush",
    "cut",
    "wall",
    "freeze",
    "stop",
    "coordinator",
    "kill_all",
]
"""``cut``: connections between two workers break once. ``wall``: no byte goes between them any more. ``freeze``: a
worker stands still; it may wake up before or after it is given up, or never. ``coordinator``: it dies, and another one
takes over."""


@dataclass(frozen=True)
class Fault:
    """Something done to the job at a virtual time. Whom it hits is drawn when it happens."""

    at_s: float
    kind: FaultKind


@dataclass(frozen=True)
class Scenario:
    """One simulated job, fully determined by its seed."""

    seed: int
    shards: int
    passes: int
    minimum: int
    maximum: int
    start: int
    target: int
    control_fifo: bool
    """False: control messages of one connection overtake each other."""
    duplicates: float
    """Probability that a control message arrives twice."""
    losses: float
    """Probability that a control message is lost and sent again, each time."""
    slow_control: float
    """Factor on the delays of control messages, against those between workers."""
    switch_after_last: bool
    """Workers switch to an announced generation even after the last pass, and end there."""
    newcomers_share: bool
    """Newcomers get shards of the very first pass too."""
    faults: tuple[Fault, ...]
    checkpoint_every: int = 0
    """The main worker leaves a checkpoint after so many passes; 0: never."""

    def slowness_of(self, worker: WorkerId) -> float:
        """Factor on the time that this worker needs for a shard."""
        return random.Random(self.seed * 1000 + int(worker[1:])).choice((1.0, 1.0, 1.0, 3.0))

    @staticmethod
    def from_seed(seed: int) -> Scenario:
        """The scenario with this number."""
        rng = random.Random(seed)
        shards = rng.choice((1, 2, 3, 4, 4, 6, 8))
        maximum = min(shards, rng.choice((2, 3, 4, 5)))
        minimum = rng.randint(1, max(1, maximum - 1))
        start = rng.randint(minimum, maximum)
        passes = rng.randint(3, 12)
        rough = rng.random() < 0.5
        scenario = Scenario(
            seed=seed,
            shards=shards,
            passes=passes,
            minimum=minimum,
            maximum=maximum,
            start=start,
            target=rng.randint(minimum, maximum) if rng.random() < 0.3 else start,
            control_fifo=rng.random() < 0.6,
            duplicates=rng.choice((0.05, 0.3)) if rough else 0.0,
            losses=rng.choice((0.05, 0.3)) if rough else 0.0,
            slow_control=rng.choice((0.1, 1.0, 1.0, 4.0)),
            switch_after_last=rng.random() < 0.5,
            newcomers_share=rng.random() < 0.7,
            faults=_faults(rng, last_s=10.0 + passes * (3.0 + shards / start)),
        )
        # Drawn last, so that what the older seeds mean stays.
        every = rng.choice((0, 0, 1, 2, 3))
        ends = tuple(Fault(rng.uniform(5.0, 60.0), "kill_all") for _ in range(rng.choice((0, 1, 1, 2)) if every else 0))
        faults = sorted((*scenario.faults, *ends), key=lambda fault: fault.at_s)
        return replace(scenario, checkpoint_every=every, faults=tuple(faults))


def _faults(rng: random.Random, *, last_s: float) -> tuple[Fault, ...]:
    kinds: tuple[FaultKind, ...] = (
        *("kill",) * 5,
        *("kill_newcomer",) * 3,
        *("leave",) * 3,
        *("scale",) * 6,
        *("cut",) * 2,
        *("wall",) * 2,
        *("freeze",) * 2,
        *("ambush",) * 3,
        *("coordinator",) * 3,
        "kill_all_but_one",
    )
    faults: list[Fault] = []
    at_s = 0.0
    for _ in range(rng.choice((0, 1, 2, 3, 4, 6, 8))):
        # In bursts: what goes wrong while something else is being dealt with is what breaks protocols.
        at_s = at_s + rng.expovariate(0.7) if faults and rng.random() < 0.6 else rng.uniform(0.0, last_s)
        faults.append(Fault(at_s, rng.choice(kinds)))
    if rng.random() < 0.08:
        faults.append(Fault(rng.uniform(0.0, last_s), "stop"))
    return tuple(sorted(faults, key=lambda fault: fault.at_s))
