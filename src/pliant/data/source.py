"""The two sources of a loader: one that fetches when asked, and one with loader processes that fetch ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pliant.data.base import Batch, Key
from pliant.data.fetch import Fetcher
from pliant.data.lane import Lane
from pliant.data.prefetch_plan import PrefetchPlan, spread


class InlineSource:
    """Fetches in the calling process, when asked. See :class:`pliant.data.base.Source`."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def assign(self, shards: Sequence[int], *, epoch: int, step: int) -> None:
        """Nothing to plan: nothing is fetched ahead."""

    def batch(self, *, epoch: int, step: int, shard: int) -> Batch | None:
        """See :class:`pliant.data.base.Source`."""
        return self._fetcher.fetch(Key(epoch, step, shard))

    def more(self, *, epoch: int, step: int, shard: int) -> bool:
        """See :class:`pliant.data.base.Source`."""
        return self._fetcher.more(Key(epoch, step, shard))

    def close(self) -> None:
        """Nothing to end."""


class PrefetchSource:
    """Loader processes fetch ahead; what they were not told to fetch is fetched in the calling process.

    A map-style dataset has one lane of ``num_workers`` processes. Streams have ``num_workers`` lanes of one process,
    because a stream lives in one process; a shard stays on its lane as long as it is held.

    Args:
        fetcher: Copied into the loader processes, and used here for shards that nobody prefetched.
        num_workers: Loader processes, at least 1.
        prefetch_factor: Shard batches under way for each process, at least 1.
        steps_of: For a map-style dataset: shard -> its steps in an epoch. None: streams.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        *,
        num_workers: int,
        prefetch_factor: int,
        steps_of: Callable[[int], int] | None,
    ) -> None:
        self._fetcher = fetcher
        lanes, workers = (num_workers, 1) if steps_of is None else (1, num_workers)
        self._is_stream = steps_of is None
        self._lanes = [
            Lane(
                fetcher,
                plan=PrefetchPlan(steps_of or _unknown),
                workers=workers,
                prefetch_factor=prefetch_factor,
            )
            for _ in range(lanes)
        ]
        self._lane_of: dict[int, int] = {}

    def assign(self, shards: Sequence[int], *, epoch: int, step: int) -> None:
        """See :class:`pliant.data.base.Source`. The first time this forks the loader processes."""
        self._lane_of = spread(shards, len(self._lanes), self._lane_of)
        for number, lane in enumerate(self._lanes):
            held = [shard for shard in shards if self._lane_of[shard] == number]
            lane.plan.assign(held, epoch=epoch, step=step)
            if held:
                lane.start()

    def batch(self, *, epoch: int, step: int, shard: int) -> Batch | None:
        """See :class:`pliant.data.base.Source`."""
        key = Key(epoch, step, shard)
        lane = self._lane(shard)
        if lane is None:
            return self._fetcher.fetch(key)
        made = lane.give(key)
        lane.plan.take(key)
        try:
            if made is None:
                return self._fetcher.fetch(key)
            if made.error is not None:
                made.error.reraise()  # type: ignore[no-untyped-call]
            return made.batch
        finally:
            # Last: what is thrown away may have to be waited for, and an inherited shard is in a hurry.
            lane.tidy()

    def more(self, *, epoch: int, step: int, shard: int) -> bool:
        """See :class:`pliant.data.base.Source`."""
        key = Key(epoch, step, shard)
        lane = self._lane(shard)
        known = lane.know_more(key) if lane is not None and self._is_stream else None
        return self._fetcher.more(key) if known is None else known

    def close(self) -> None:
        """See :class:`pliant.data.base.Source`."""
        for lane in self._lanes:
            lane.close()

    def _lane(self, shard: int) -> Lane | None:
        number = self._lane_of.get(shard)
        return None if number is None else self._lanes[number]


def _unknown(_shard: int) -> None:
    """Only the data can tell where a stream ends."""
