"""Making one shard's batch from the dataset, in whichever process it is: the main one or a loader process.

The random streams are seeded from (seed, epoch, step, shard) before the dataset runs, so augmentation gives the same
bits in any process, on any worker, and when it is done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

from pliant.data.base import Batch, Collate, Key, Recipe, StreamFunction
from pliant.data.order import EpochOrder
from pliant.data.shards_plan import sample_range, steps_of_shard
from pliant.data.streams import seed_streams
from pliant.errors import ConfigError


class Fetcher(Protocol):
    """Makes batches of any shard at any position."""

    def fetch(self, key: Key) -> Batch | None:
        """The batch, or None where the shard has no samples in that step."""
        ...

    def more(self, key: Key) -> bool:
        """True if the shard has samples in the step after this one."""
        ...


class MapFetcher:
    """Fetches from a map-style dataset, through ``__getitems__`` where it has one."""

    def __init__(self, dataset: Any, *, recipe: Recipe, collate: Collate) -> None:
        if recipe.size is None:
            raise ValueError("a map-style dataset has a size")
        self._dataset = dataset
        self._recipe = recipe
        self._size = recipe.size
        self._collate = collate
        self._epoch: int | None = None
        self._order: EpochOrder | None = None

    def fetch(self, key: Key) -> Batch | None:
        """See :class:`Fetcher`."""
        recipe = self._recipe
        start, stop = sample_range(
            step=key.step,
            shard=key.shard,
            batch_size=recipe.batch_size,
            shards=recipe.shards,
            size=self._size,
            drop_last=recipe.drop_last,
        )
        if start == stop:
            return None
        indices: list[int] = self._order_of(key.epoch).indices(start, stop).tolist()
        seed_streams(recipe.seed, "data", key.epoch, key.step, key.shard)
        fetch_many = getattr(self._dataset, "__getitems__", None)
        samples = fetch_many(indices) if fetch_many else [self._dataset[index] for index in indices]
        return Batch(self._collate(samples), stop - start)

    def more(self, key: Key) -> bool:
        """See :class:`Fetcher`; arithmetic alone."""
        recipe = self._recipe
        return key.step + 1 < steps_of_shard(
            shard=key.shard,
            batch_size=recipe.batch_size,
            shards=recipe.shards,
            size=self._size,
            drop_last=recipe.drop_last,
        )

    def _order_of(self, epoch: int) -> EpochOrder:
        if self._order is None or self._epoch != epoch:
            recipe = self._recipe
            self._order = EpochOrder(self._size, seed=recipe.seed, epoch=epoch, shuffle=recipe.shuffle)
            self._epoch = epoch
        return self._order


class StreamFetcher:
    """Fetches from per-shard streams, one open per shard, and looks one batch ahead.

    A stream asked for a place that it is not at is opened anew there: the user's function is called with ``start``
    = the samples already used. How fast that is, is up to that function.

    Random numbers are seeded before each batch is pulled, not when a stream is opened: one that has moved to another
    worker starts in the middle. So whatever a stream function draws *before* its first sample differs after a move;
    it has to come from its arguments instead.
    """

    def __init__(self, function: StreamFunction, *, recipe: Recipe, collate: Collate) -> None:
        self._function = function
        self._recipe = recipe
        self._collate = collate
        self._open: dict[int, _Stream] = {}

    def fetch(self, key: Key) -> Batch | None:
        """See :class:`Fetcher`."""
        samples = self._samples(key)
        if samples is None:
            return None
        # Here and not in `more`, which is asked while the training loop's own streams are in use.
        self._samples(key._replace(step=key.step + 1))
        seed_streams(self._recipe.seed, "collate", key.epoch, key.step, key.shard)
        return Batch(self._collate(samples), len(samples))

    def more(self, key: Key) -> bool:
        """See :class:`Fetcher`."""
        return self._samples(key._replace(step=key.step + 1)) is not None

    def _samples(self, key: Key) -> list[Any] | None:
        stream = self._open.get(key.shard)
        if stream is None or not stream.can_give(key):
            # Forget the old one first: opening may raise, and a stream half replaced must not be used.
            self._open.pop(key.shard, None)
            start = key.step * self._recipe.per_shard
            source = self._function(key.shard, self._recipe.shards, key.epoch, start)
            if not isinstance(source, Iterable):
                raise ConfigError(
                    f"the dataset function returned a {type(source).__name__} for shard {key.shard}; "
                    f"it has to return an iterator over samples"
                )
            stream = self._open[key.shard] = _Stream(self._recipe, iter(source), key)
        try:
            return stream.samples(key)
        except BaseException:
            # A generator that raised is finished; asked again, it would look like the end of the data.
            self._open.pop(key.shard, None)
            raise


class _Stream:
    """One shard's open iterator and the last two batches pulled from it."""

    def __init__(self, recipe: Recipe, source: Iterator[Any], at: Key) -> None:
        self._recipe = recipe
        self._source = source
        self._epoch = at.epoch
        self._next_step = at.step
        self._held: dict[int, list[Any] | None] = {}
        self._ended = False

    def can_give(self, key: Key) -> bool:
        return key.epoch == self._epoch and (key.step in self._held or key.step == self._next_step)

    def samples(self, key: Key) -> list[Any] | None:
        if key.step not in self._held:
            self._held = {step: held for step, held in self._held.items() if step == key.step - 1}
            self._held[key.step] = self._pull(key)
            self._next_step = key.step + 1
        return self._held[key.step]

    def _pull(self, key: Key) -> list[Any] | None:
        if self._ended:
            return None
        wanted = self._recipe.per_shard
        seed_streams(self._recipe.seed, "data", key.epoch, key.step, key.shard)
        samples = list(islice(self._source, wanted))
        if len(samples) < wanted:
            self._ended = True
            if not samples or self._recipe.drop_last:
                return None
        return samples
