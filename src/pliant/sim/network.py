"""Simulated connections: the mesh between workers, and the control connections to the coordinator.

A link delivers in order (as TCP does) with random delays; different links overtake each other. When a process
dies, each of its links delivers some prefix of what was under way, and then the reset.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from pliant.ids import WorkerId
from pliant.sim.engine import Engine
from pliant.sim.scenario import Scenario


class MeshNode(Protocol):
    """What the mesh needs of a worker."""

    alive: bool

    def on_mesh(self, source: WorkerId, generation: int, kind: str, body: Any) -> None:
        """A message of the group of ``generation`` has arrived."""

    def on_peer_gone(self, peer: WorkerId) -> None:
        """The connection to ``peer`` was reset, or refused."""


class Mesh:
    """All connections between workers."""

    def __init__(self, engine: Engine, *, rng: random.Random) -> None:
        self.nodes: dict[WorkerId, MeshNode] = {}
        self._engine = engine
        self._rng = rng
        self._last: dict[tuple[WorkerId, WorkerId], float] = {}
        self._cut: dict[tuple[WorkerId, WorkerId], float] = {}
        self._walls: set[frozenset[WorkerId]] = set()

    def wall(self, one: WorkerId, other: WorkerId) -> None:
        """From now on no byte goes between the two, and neither is told."""
        self._walls.add(frozenset((one, other)))

    def walled(self, one: WorkerId, other: WorkerId) -> bool:
        """Whether there is a wall between the two."""
        return frozenset((one, other)) in self._walls

    def _delay(self) -> float:
        return 0.05 + 0.5 * self._rng.random() ** 3

    def send(self, source: WorkerId, target: WorkerId, message: tuple[int, str, Any]) -> None:
        """Send (generation, kind, body)."""
        link = (source, target)
        arrival = max(self._last.get(link, 0.0), self._engine.now + self._delay())
        self._last[link] = arrival
        self._engine.at(arrival, self._deliver, link, message)

    def _deliver(self, link: tuple[WorkerId, WorkerId], message: tuple[int, str, Any]) -> None:
        if self._engine.now > self._cut.get(link, float("inf")) or self.walled(*link):
            return
        source, target = link
        if self.nodes[target].alive:
            self.nodes[target].on_mesh(source, *message)
        else:
            self._engine.after(self._delay(), self._reset, source, target)

    def _reset(self, target: WorkerId, peer: WorkerId) -> None:
        if self.nodes[target].alive and not self.walled(target, peer):
            self.nodes[target].on_peer_gone(peer)

    def die(self, worker: WorkerId, *, cleanly: bool) -> None:
        """The process is gone: its peers get what was under way (a part of it, unless ``cleanly``), then a reset."""
        for target in self.nodes:
            link = (worker, target)
            last = max(self._last.get(link, 0.0), self._engine.now)
            cut = last if cleanly else self._engine.now + self._rng.random() * (last - self._engine.now)
            self._cut[link] = cut
            self._engine.at(cut + self._delay(), self._reset, target, worker)


class Control:
    """The WebSocket of every worker and the agent's: delayed, repeated, and out of order where the scenario says."""

    def __init__(self, engine: Engine, *, rng: random.Random, scenario: Scenario) -> None:
        self._engine = engine
        self._rng = rng
        self._scenario = scenario
        self._last: dict[str, float] = {}
        self._cuts = 0

    def cut(self) -> None:
        """The coordinator has died: what it has sent and what is still under way is lost."""
        self._cuts += 1

    def _delay(self) -> float:
        scenario, rng = self._scenario, self._rng
        delay = scenario.slow_control * (0.05 + rng.random() ** 2)
        while rng.random() < scenario.losses:
            delay += scenario.slow_control * (1.0 + rng.random())
        return delay

    def command(self, worker: WorkerId, receive: Callable[[Any], None], message: Any) -> None:
        """Send ``message`` from the coordinator to a worker; lost if the coordinator dies before it has arrived."""
        cuts = self._cuts
        self.send(f"down {worker}", lambda arrived: receive(arrived) if self._cuts == cuts else None, message)

    def send(self, link: str, receive: Callable[[Any], None], message: Any) -> None:
        """Send ``message`` over the connection named ``link``; the sender repeats it until it was handled."""
        arrival = self._engine.now + self._delay()
        if self._scenario.control_fifo:
            arrival = max(arrival, self._last.get(link, 0.0))
            self._last[link] = arrival
        self._engine.at(arrival, receive, message)
        if self._rng.random() < self._scenario.duplicates:
            self._engine.at(arrival + self._delay() * 2, receive, message)
