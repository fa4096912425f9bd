"""The loader that a training script makes: a dataset, the global batch, and how many shards it is cut into."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch.utils.data import default_collate

from pliant.data.base import Collate, Recipe, Source
from pliant.data.checks import Options, dataset_size, problems_with
from pliant.data.fetch import Fetcher, MapFetcher, StreamFetcher
from pliant.data.shards_plan import steps_of_shard, steps_per_epoch
from pliant.data.source import InlineSource, PrefetchSource
from pliant.errors import ConfigError


class Loader:
    """A dataset cut into global batches, and those into shards.

    Which samples are in which shard, and in what order, is a function of the arguments alone: it is the same at any
    number of workers. Randomness in the dataset (torch, ``random``, NumPy's global functions) is seeded for each shard
    of each step, in whichever process it runs.

    Args:
        dataset: Map-style (``__len__`` and ``__getitem__``; ``__getitems__`` is used where present), or for streams a
            *function* ``(shard, shards, epoch, start)`` that gives an iterator over the samples of that shard, from
            its sample number ``start`` on. Such a function should draw random numbers only sample by sample; what has
            to last over samples it derives from its arguments: the stream may move to another worker at any step.
        batch_size: Samples of one step, over all workers.
        shards: Parts of a batch, V: at most that many workers can share a step. Part of the recipe, like batch_size.
        seed: Of the sample order and of the dataset's random streams.
        shuffle: A new order each epoch. A stream's order is its function's business.
        drop_last: Leave out an incomplete last batch (of a stream: the incomplete last batch of each shard).
        num_workers: Loader processes on each worker; 0 fetches in the training process.
        collate_fn: Samples of one shard -> what the loop gets; default: :func:`torch.utils.data.default_collate`.
        prefetch_factor: Shard batches fetched ahead by each loader process.

    Attributes:
        samples_per_shard: ``batch_size / shards``.
        steps_per_epoch: None for streams.

    Raises:
        ConfigError: With all problems of the arguments at once.
    """

    def __init__(  # noqa: PLR0913 - the options of torch's DataLoader, under the same names
        self,
        dataset: Any,
        *,
        batch_size: int,
        shards: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        num_workers: int = 0,
        collate_fn: Collate | None = None,
        prefetch_factor: int = 2,
    ) -> None:
        options = Options(
            batch_size=batch_size,
            shards=shards,
            seed=seed,
            num_workers=num_workers,
            collate_fn=collate_fn,
            prefetch_factor=prefetch_factor,
        )
        problems = problems_with(dataset, options)
        if problems:
            raise ConfigError(problems)
        self.dataset = dataset
        self.batch_size = operator.index(batch_size)
        self.shards = operator.index(shards)
        self.seed = operator.index(seed)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.num_workers = operator.index(num_workers)
        self.prefetch_factor = operator.index(prefetch_factor)
        self.size = dataset_size(dataset)
        self.samples_per_shard = self.batch_size // self.shards
        self.steps_per_epoch: int | None = None
        if self.size is not None:
            self.steps_per_epoch = steps_per_epoch(batch_size=self.batch_size, size=self.size, drop_last=self.drop_last)
        self._collate: Collate = default_collate if collate_fn is None else collate_fn

    @property
    def recipe(self) -> Recipe:
        """What the bits depend on."""
        return Recipe(
            seed=self.seed,
            batch_size=self.batch_size,
            shards=self.shards,
            shuffle=self.shuffle,
            drop_last=self.drop_last,
            size=self.size,
        )

    def source(self) -> Source:
        """A fresh source of the batches; the caller closes it. Loader processes start at its first ``assign``."""
        fetcher: Fetcher
        if self.size is None:
            fetcher = StreamFetcher(self.dataset, recipe=self.recipe, collate=self._collate)
        else:
            fetcher = MapFetcher(self.dataset, recipe=self.recipe, collate=self._collate)
        if self.num_workers == 0:
            return InlineSource(fetcher)
        return PrefetchSource(
            fetcher,
            num_workers=self.num_workers,
            prefetch_factor=self.prefetch_factor,
            steps_of=self._steps_of(),
        )

    def _steps_of(self) -> Callable[[int], int] | None:
        size = self.size
        if size is None:
            return None
        return lambda shard: steps_of_shard(
            shard=shard,
            batch_size=self.batch_size,
            shards=self.shards,
            size=size,
            drop_last=self.drop_last,
        )
