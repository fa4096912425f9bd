"""Which samples were committed how often: the books that exactly-once is proved with. Pure.

Ranges are kept as a difference array with zeros left out (+1 where a range begins, -1 where it ends), so ranges
that touch melt together: an epoch without gaps or repetitions is two numbers, however many steps it had.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pliant.data.order import EpochOrder


class SampleLedger:
    """Commits of (epoch, step, shard) -> range of positions in the epoch's order.

    Args:
        shards: Shards of a global batch.
    """

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.samples = 0
        """Samples committed so far, repetitions counted."""
        self._positions: dict[int, dict[int, int]] = {}
        self._places: dict[int, dict[int, int]] = {}

    def commit(self, *, epoch: int, step: int, shard: int, positions: tuple[int, int]) -> None:
        """Enter one committed shard. An empty range counts as a commit of the shard, with no samples.

        Raises:
            ValueError: The shard or the range is impossible; nothing was entered.
        """
        start, stop = positions
        if not 0 <= shard < self.shards or not 0 <= start <= stop:
            raise ValueError(f"no such commit: shard {shard} of {self.shards}, positions {start} to {stop}")
        place = step * self.shards + shard
        _add(self._places.setdefault(epoch, {}), place, place + 1)
        _add(self._positions.setdefault(epoch, {}), start, stop)
        self.samples += stop - start

    def times_committed(self, *, epoch: int, step: int, shard: int) -> int:
        """How often this shard was committed: 1 in a correct run."""
        place = step * self.shards + shard
        return sum(times for start, stop, times in _runs(self._places.get(epoch, {})) if start <= place < stop)

    def runs(self, epoch: int) -> list[tuple[int, int, int]]:
        """Committed positions as ``(start, stop, times)``, ascending, gaps left out."""
        return list(_runs(self._positions.get(epoch, {})))

    def missing(self, epoch: int, size: int) -> list[tuple[int, int]]:
        """Ranges of positions below ``size`` that were never committed."""
        gaps: list[tuple[int, int]] = []
        reached = 0
        for start, stop, _times in self.runs(epoch):
            if start > reached:
                gaps.append((reached, min(start, size)))
            reached = stop
            if reached >= size:
                return gaps
        gaps.append((reached, size))
        return gaps

    def repeated(self, epoch: int) -> list[tuple[int, int, int]]:
        """Runs ``(start, stop, times)`` that were committed more than once."""
        return [run for run in self.runs(epoch) if run[2] > 1]

    def exactly_once(self, epoch: int, size: int) -> bool:
        """True if every position of 0 .. size-1 was committed once, and nothing else was."""
        return self.runs(epoch) == [(0, size, 1)]

    def sample_counts(self, epoch: int, order: EpochOrder) -> NDArray[np.int64]:
        """How often each *sample* was seen in this epoch; shape ``(order.size,)``."""
        counts = np.zeros(order.size, dtype=np.int64)
        for start, stop, times in self.runs(epoch):
            counts[order.indices(start, stop)] += times
        return counts

    def entries(self) -> int:
        """Numbers kept in all: grows with gaps and repetitions, not with steps."""
        return sum(len(edges) for books in (self._positions, self._places) for edges in books.values())


def _add(edges: dict[int, int], start: int, stop: int) -> None:
    for edge, change in ((start, 1), (stop, -1)):
        edges[edge] = edges.get(edge, 0) + change
        if not edges[edge]:
            del edges[edge]


def _runs(edges: dict[int, int]) -> Iterator[tuple[int, int, int]]:
    times = 0
    begin = 0
    for edge in sorted(edges):
        if times:
            yield begin, edge, times
        times += edges[edge]
        begin = edge
