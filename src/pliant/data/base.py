"""What the training runtime sees of data: batches of shards, from a source that may be asked for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Collate = Callable[[list[Any]], Any]
"""Samples of one shard -> what the training loop gets."""

StreamFunction = Callable[[int, int, int, int], Iterator[Any]]
"""``(shard, shards, epoch, start)`` -> the samples of that shard's stream from number ``start`` on."""


class Key(NamedTuple):
    """Names one shard of one step. Sorts in the order of training."""

    epoch: int
    step: int
    shard: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One shard's part of a global batch."""

    data: Any
    """Collated."""
    samples: int
    """How many samples it was made of: its weight in the step's mean."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about the data that the bits depend on, apart from the dataset itself."""

    seed: int
    batch_size: int
    shards: int
    shuffle: bool
    drop_last: bool
    size: int | None
    """Samples of a map-style dataset; None for streams."""

    @property
    def per_shard(self) -> int:
        """Samples of a full shard."""
        return self.batch_size // self.shards


class Source(Protocol):
    """Gives this worker the batches of its shards. Used from one thread."""

    def assign(self, shards: Sequence[int], *, epoch: int, step: int) -> None:
        """From this (epoch, step) on, this worker holds these shards: plan the prefetch anew.

        May be called at any step boundary, and within a step when shards are inherited from a dead worker. Work
        under way that is still of use is kept. Does not block, except to start loader processes the first time.
        """
        ...

    def batch(self, *, epoch: int, step: int, shard: int) -> Batch | None:
        """The batch of one shard of one step, None where the shard has no samples in that step.

        Works for any shard at any time, also for one that was never assigned or was given before. Blocks until
        the data is here.

        The random streams of this process are in an undefined state afterwards: seed before training on the batch.

        Raises:
            Exception: Whatever the dataset or the collate function raised. The source stays usable.
        """
        ...

    def more(self, *, epoch: int, step: int, shard: int) -> bool:
        """True if this shard has samples in ``step + 1`` of this epoch. For streams this looks one batch ahead."""
        ...

    def close(self) -> None:
        """End the loader processes. May be called twice; nothing else may be called afterwards."""
        ...
