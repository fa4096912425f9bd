"""The partial sums of one pass, as they come in at the server that owns the slots, added up in the shards' tree."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from pliant.comm.tree import Node, fold, maximal_subtrees
from pliant.errors import ProtocolError
from pliant.parallel.partials import scaled
from pliant.parallel.reduce import mean_factor

Place = tuple[int, int]
"""(bucket, slot)"""


class Gather:
    """One pass of one generation of workers. Partial sums are read only, and let go of when they are added up."""

    def __init__(self, generation: int, pass_number: int, *, size: int, shards: int) -> None:
        self.generation, self.pass_number, self.size = generation, pass_number, size
        self.shards = shards
        self._nodes: dict[int, list[Node]] = {}
        self._scales: dict[int, float] = {}
        self._parts: dict[Place, dict[Node, torch.Tensor]] = {}
        self._expected = 0
        self.factor = 0.0

    def newer_than(self, generation: int, pass_number: int) -> bool:
        """Something of that pass and generation comes late."""
        return (self.pass_number, self.generation) > (pass_number, generation)

    def is_of(self, generation: int, pass_number: int) -> bool:
        """It is this one."""
        return (self.pass_number, self.generation) == (pass_number, generation)

    def hail(self, *, rank: int, held: Sequence[int], scales: Sequence[float]) -> None:
        """A member says what it is going to send.

        Raises:
            ProtocolError: The members do not hold each shard once.
        """
        self._nodes[rank] = maximal_subtrees(held, self.shards)
        self._scales.update(zip(held, scales, strict=True))
        if len(self._nodes) < self.size:
            return
        counted = sum(stop - start for nodes in self._nodes.values() for start, stop in nodes)
        if counted != self.shards or sorted(self._scales) != list(range(self.shards)):
            raise ProtocolError(f"the workers hold shards {sorted(self._scales)} of {self.shards}, {counted} in all")
        self._expected = sum(len(nodes) for nodes in self._nodes.values())
        self.factor = mean_factor(self._scales, self.shards)

    @property
    def ready(self) -> bool:
        """All members have said what they send."""
        return self._expected > 0

    def covers(self, parts: Collection[Node]) -> bool:
        """These are the partial sums of all members."""
        return 0 < self._expected <= len(parts)

    def nodes(self, rank: int) -> list[Node]:
        """What that member sends of each bucket."""
        return self._nodes.get(rank, [])

    def add(self, place: Place, node: Node, part: torch.Tensor) -> None:
        """A partial sum."""
        self._parts.setdefault(place, {})[node] = part

    def fold(self, place: Place, out: torch.Tensor) -> bool:
        """Write the mean to ``out`` (1-d, of the place's size) if all partial sums of this place are here."""
        parts = self._parts.get(place, {})
        if not self.covers(parts):
            return False
        scaled(fold(parts, self.shards, torch.add), self.factor, out)
        del self._parts[place]
        return True

    def waiting(self) -> list[Place]:
        """Places of which something is here."""
        return list(self._parts)
