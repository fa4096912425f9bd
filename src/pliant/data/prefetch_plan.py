"""Which batch the loader processes make next, as shards come and go. Pure: no processes, no data.

Rules:

1. Batches are made in the order of training: (epoch, step, shard), for the shards held, across ends of epochs.
2. A batch that is under way or here is never ordered again while it is of use, whatever is assigned meanwhile.
3. A batch is of use if its shard is held, its step is not behind the training, and it was not taken yet.
4. There is always an answer: with nothing to do the next order is a *bubble* (None), which costs nothing.

The caller orders with :meth:`PrefetchPlan.next_order`, reports arrivals in the same order, and says what training
takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from pliant.data.base import Key

IDLE_EPOCHS = 2
"""Epochs without any batch that are skipped in one search before a bubble is given: streams may all be empty."""


class PrefetchPlan:
    """Decides on the orders of one group of loader processes.

    Args:
        steps_of: Shard -> in how many steps of an epoch it has samples; None where only the data can tell (streams).
    """

    def __init__(self, steps_of: Callable[[int], int | None]) -> None:
        self._steps_of = steps_of
        self._ends: dict[tuple[int, int], int] = {}
        self._shards: tuple[int, ...] = ()
        self._floor = (0, 0)
        self._cursor: Key | None = None
        self._under_way: deque[Key | None] = deque()
        self._here: set[Key] = set()
        self._taken: set[Key] = set()

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards held, ascending."""
        return self._shards

    @property
    def under_way(self) -> tuple[Key | None, ...]:
        """Orders without an arrival, oldest first; None is a bubble."""
        return tuple(self._under_way)

    def assign(self, shards: Sequence[int], *, epoch: int, step: int) -> None:
        """From (epoch, step) on these shards are held."""
        if (epoch, step) < self._floor:
            # Training went back (the same loader is run through again): what was taken is wanted once more.
            self._taken.clear()
        self._shards = tuple(sorted(set(shards)))
        self._floor = (epoch, step)
        self._cursor = None
        self._forget()

    def next_order(self) -> Key | None:
        """The next batch to make, which counts as under way from here on; None: a bubble."""
        order = self._search()
        self._under_way.append(order)
        return order

    def arrived(self) -> Key | None:
        """The oldest order has been answered; returns it. Of no use any more: it is not kept in the books."""
        order = self._under_way.popleft()
        if order is not None and self.is_of_use(order):
            self._here.add(order)
        return order

    def ended(self, key: Key) -> None:
        """The shard's stream has no samples at this step of this epoch, nor later in it."""
        place = (key.epoch, key.shard)
        self._ends[place] = min(key.step, self._ends.get(place, key.step))

    def is_of_use(self, key: Key) -> bool:
        """Whether training may still ask for this batch (rule 3)."""
        return key.shard in self._shards and key[:2] >= self._floor and key not in self._taken

    def is_behind(self, key: Key) -> bool:
        """Whether the key's step is behind the training."""
        return key[:2] < self._floor

    def is_coming(self, key: Key) -> bool:
        """Whether this batch is under way."""
        return key in self._under_way

    def take(self, key: Key) -> None:
        """Training has taken this batch; steps before it are behind."""
        self._floor = max(self._floor, key[:2])
        self._here.discard(key)
        if key[:2] == self._floor:
            self._taken.add(key)
        self._forget()

    def idle_head(self) -> bool:
        """Whether the oldest order is a bubble or of no use: throwing its answer away makes room for the next."""
        if not self._under_way:
            return False
        head = self._under_way[0]
        return head is None or not self.is_of_use(head)

    def _search(self) -> Key | None:
        if not self._shards:
            return None
        busy = self._here.union(key for key in self._under_way if key is not None)
        epoch, step, first = self._start()
        empty_epochs = 0
        while empty_epochs < IDLE_EPOCHS:
            live = [shard for shard in self._shards if self._has(epoch, step, shard)]
            for shard in live:
                key = Key(epoch, step, shard)
                if shard >= first and key not in busy and key not in self._taken:
                    self._cursor = key
                    return key
            first = 0
            if live:
                step += 1
            else:
                empty_epochs += step == 0
                epoch, step = epoch + 1, 0
        return None

    def _start(self) -> tuple[int, int, int]:
        """Where the search begins: after the last order, but never behind the training."""
        start = (*self._floor, 0)
        if self._cursor is None:
            return start
        return max(start, (self._cursor.epoch, self._cursor.step, self._cursor.shard + 1))

    def _has(self, epoch: int, step: int, shard: int) -> bool:
        known = self._steps_of(shard)
        end = self._ends.get((epoch, shard)) if known is None else known
        return end is None or step < end

    def _forget(self) -> None:
        """Drop from the books what is behind the training or not held any more."""
        self._here = {key for key in self._here if self.is_of_use(key)}
        self._taken = {key for key in self._taken if key[:2] >= self._floor}
        self._ends = {place: end for place, end in self._ends.items() if place[0] >= self._floor[0]}


def spread(shards: Sequence[int], lanes: int, current: Mapping[int, int]) -> dict[int, int]:
    """Which lane (group of loader processes) serves which shard: as before; new shards go where the fewest are.

    Args:
        shards: Shards held from now on.
        lanes: How many lanes there are.
        current: Shard -> lane so far.
    """
    lane_of = {shard: current[shard] for shard in shards if shard in current}
    load = [sum(lane == number for lane in lane_of.values()) for number in range(lanes)]
    for shard in sorted(set(shards) - set(lane_of)):
        lane = load.index(min(load))
        lane_of[shard] = lane
        load[lane] += 1
    return lane_of
