"""The simulation's referee: what must be true of every commit, whoever makes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

Content = int
"""Stands for a tensor: a hash of everything that went into it."""


class ViolationError(AssertionError):
    """The simulated protocol did something that must never happen."""


def shard_gradient(weights: Content, *, number: int, shard: int) -> Content:
    """The gradient of one shard in pass ``number``: a pure function of the weights, the pass and the shard."""
    return hash((weights, number, shard))


def tree_sum(gradients: Iterable[Content]) -> Content:
    """The reduction over the shards in their order."""
    return hash(tuple(gradients))


def next_weights(weights: Content, full: Content) -> Content:
    """The weights after the commit of a pass."""
    return hash((weights, full))


class Kept(NamedTuple):
    """A checkpoint."""

    passes: int
    weights: Content
    founded: int
    """The generation in which its job was founded."""


class Ledger:
    """Knows what an undisturbed run does and compares every commit with it."""

    def __init__(self, *, shards: int) -> None:
        self._shards = shards
        self._weights: list[Content] = []
        self.commits = self.furthest = 0

    def found(self, weights: Content) -> None:
        """A founding group has taken rank 0's initial state as the job's; nothing may have been committed before."""
        if self._weights and self._weights[0] != weights and self.commits:
            raise ViolationError("the job began again although passes had been committed")
        self._weights = [weights]

    def weights_after(self, passes: int) -> Content:
        """The weights of the undisturbed run after ``passes`` passes."""
        while len(self._weights) <= passes:
            number, weights = len(self._weights) - 1, self._weights[-1]
            gradients = [shard_gradient(weights, number=number, shard=shard) for shard in range(self._shards)]
            self._weights.append(next_weights(weights, tree_sum(gradients)))
        return self._weights[passes]

    def check_pass(self, counted: Iterable[int], *, number: int) -> None:
        """Every shard is counted exactly once in the pass."""
        if sorted(counted) != list(range(self._shards)):
            raise ViolationError(f"pass {number} counts the shards {sorted(counted)} of {self._shards}")

    def commit(self, worker: str, *, passes: int, weights: Content) -> None:
        """``worker`` has committed, and ``passes`` are done now."""
        self.commits += 1
        self.furthest = max(self.furthest, passes)
        if weights != self.weights_after(passes):
            raise ViolationError(f"{worker} holds other weights than an undisturbed run after {passes} passes")

    def receive(self, worker: str, *, passes: int, weights: Content) -> None:
        """``worker`` has received the state."""
        if weights != self.weights_after(passes):
            raise ViolationError(f"{worker} received other weights than an undisturbed run has after {passes} passes")
