"""A service in virtual time: the production deciders, made-up replicas, and any arrivals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pliant.serving.autoscale_plan import ScaleDecision, ScaleRules, Sight
from pliant.serving.batch_plan import BatchQueue, BatchRules, Waiting
from pliant.sim.arrivals import Arrival
from pliant.sim.engine import Engine


class Scaler(Protocol):
    """What decides how many replicas there should be."""

    rules: ScaleRules

    def load(self, now_s: float, requests: int) -> None:
        """There are so many requests from now on."""

    def decide(self, now_s: float, sight: Sight) -> ScaleDecision:
        """How many replicas there should be now."""

    def next_look_s(self, now_s: float, sight: Sight) -> float | None:
        """When to decide again though nothing comes; None: not at all."""


@dataclass(frozen=True)
class ReplicaModel:
    """How long things take. A batch takes ``fixed_s`` and ``row_s`` for each row's worth of work in it."""

    start_s: float = 0.15
    fixed_s: float = 0.02
    row_s: float = 0.02
    deadline_s: float = 1.0
    """From arrival; a request is in time if it is answered by then."""

    def batch_s(self, works: Sequence[float]) -> float:
        """Of these requests."""
        return self.fixed_s + self.row_s * sum(works)


@dataclass
class ServiceResult:
    """What came of it."""

    answered: int = 0
    in_time: int = 0
    refused: int = 0
    replica_s: float = 0.0
    """Replicas starting or ready, times seconds."""
    most: int = 0
    latencies_s: list[float] = field(default_factory=list)
    steps: list[tuple[float, int]] = field(default_factory=list)
    """(time, replicas that there are), at every change."""


class ServiceWorld:
    """Feed it arrivals, let time pass, read ``result``."""

    def __init__(self, scaler: Scaler, batch: BatchRules, model: ReplicaModel) -> None:
        self.engine = Engine()
        self.scaler, self.model = scaler, model
        self.queue = BatchQueue(batch)
        self.result = ServiceResult()
        self._ids = itertools.count()
        self._work: dict[int, float] = {}
        self._arrived_s: dict[int, float] = {}
        self._idle: list[int] = []
        self._busy: set[int] = set()
        self._starting: set[int] = set()
        self._since_s = 0.0
        self._look_s = float("inf")
        self._busy_s, self._rows_done = 0.0, 0

    # ------------------------------------------------------------ from outside

    def play(self, arrivals: Sequence[Arrival], *, settle_s: float = 0.0) -> ServiceResult:
        """Let all requests come and be answered, and ``settle_s`` more pass."""
        for arrival in arrivals:
            self.engine.at(arrival.time_s, self._arrive, arrival)
        end_s = (arrivals[-1].time_s if arrivals else 0.0) + settle_s
        self._decide()
        self.engine.at(end_s, lambda: None)
        self.engine.run(until=lambda: self.engine.now >= end_s and not self._work, most=50_000_000)
        self._count()
        return self.result

    @property
    def sight(self) -> Sight:
        """As the router sees it."""
        rate = self._rows_done / self._busy_s if self._busy_s else 0.0
        return Sight(len(self._idle) + len(self._busy), len(self._starting), self.model.start_s, rate)

    # ------------------------------------------------------------ what happens

    def _arrive(self, arrival: Arrival) -> None:
        now_s, number = self.engine.now, next(self._ids)
        sight = self.sight
        refusal = self.queue.offer(
            Waiting(number, now_s), now_s=now_s, slots=max(sight.ready + sight.starting, 1), batch_s=0.0
        )
        if refusal is not None:
            self.result.refused += 1
            return
        self._work[number], self._arrived_s[number] = arrival.work, now_s
        self._loaded()
        self._feed()

    def _feed(self) -> None:
        while self._idle and len(self.queue):
            batch = self.queue.take(self.engine.now).requests
            replica = self._idle.pop()
            self._busy.add(replica)
            took_s = self.model.batch_s([self._work[request.id] for request in batch])
            self.engine.after(took_s, self._answer, replica, batch, took_s)

    def _answer(self, replica: int, batch: tuple[Waiting, ...], took_s: float) -> None:
        self._busy_s, self._rows_done = self._busy_s + took_s, self._rows_done + len(batch)
        for request in batch:
            latency_s = self.engine.now - self._arrived_s.pop(request.id)
            del self._work[request.id]
            self.result.answered += 1
            self.result.in_time += latency_s <= self.model.deadline_s
            self.result.latencies_s.append(latency_s)
        self._busy.discard(replica)
        self._idle.append(replica)
        self._loaded()
        self._feed()

    def _loaded(self) -> None:
        self.scaler.load(self.engine.now, len(self._work))
        self._look_later()

    def _decide(self) -> None:
        wanted = self.scaler.decide(self.engine.now, self.sight).wanted
        there = len(self._idle) + len(self._busy) + len(self._starting)
        for _ in range(wanted - there):
            replica = next(self._ids)
            self._starting.add(replica)
            self.engine.after(self.model.start_s, self._started, replica)
        for _ in range(min(there - wanted, len(self._idle))):  # a busy one goes once it is idle
            self._idle.pop(0)
        self._count()
        self._look_later()

    def _look_later(self) -> None:
        """One look is planned at a time, and a nearer one takes its place."""
        delay_s = self.scaler.next_look_s(self.engine.now, self.sight)
        if delay_s is None or self.engine.now + delay_s >= self._look_s:
            return
        self._look_s = self.engine.now + delay_s
        self.engine.at(self._look_s, self._look, self._look_s)

    def _look(self, planned_s: float) -> None:
        if planned_s == self._look_s:
            self._look_s = float("inf")
            self._decide()

    def _started(self, replica: int) -> None:
        self._starting.discard(replica)
        self._idle.append(replica)
        self._feed()

    def _count(self) -> None:
        """Add up the replicas that there have been since the last time."""
        there = len(self._idle) + len(self._busy) + len(self._starting)
        if self.result.steps:
            self.result.replica_s += self.result.steps[-1][1] * (self.engine.now - self._since_s)
        self._since_s = self.engine.now
        self.result.most = max(self.result.most, there)
        if not self.result.steps or self.result.steps[-1][1] != there:
            self.result.steps.append((self.engine.now, there))
