"""Which slot a row is in. Workers and servers compute it alike.

The rows of a whole table lie in the order of their slots, and within a slot by rising ids: so a table can be written,
and read again, a slot at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pliant.wire.server_messages import SLOTS

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_CHUNK = 1 << 20


def finalized(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of SplitMix64, in place: a bijection in which each bit depends on every bit.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
    David Stafford's variant 13.
    """
    words ^= words >> np.uint64(30)
    words *= _FIRST
    words ^= words >> np.uint64(27)
    words *= _SECOND
    words ^= words >> np.uint64(31)
    return words


def mixed(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A hash of each id. The lowest bits say which slot, the highest where in an index: they do not depend on
    each other.
    """
    return finalized(ids.view(np.uint64) + GOLDEN)


def slot_of(ids: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The slot of each id."""
    return (mixed(ids) % np.uint64(SLOTS)).astype(np.uint8)


class SlotOrder:
    """Where each slot's rows are among those of a table.

    The ids are looked at in parts, because they may lie in a file. Rows in another order cost 8 bytes each here.
    """

    def __init__(self, ids: NDArray[np.int64]) -> None:
        counts = np.zeros(SLOTS, np.int64)
        last, ordered = 0, True
        for start in range(0, len(ids), _CHUNK):
            slots = slot_of(ids[start : start + _CHUNK])
            ordered = ordered and int(slots[0]) >= last and bool((slots[1:] >= slots[:-1]).all())
            last = int(slots[-1])
            counts += np.bincount(slots, minlength=SLOTS)
        self._ends = np.cumsum(counts)
        self._starts = self._ends - counts
        self._order: NDArray[np.int64] | None = None if ordered else np.argsort(slot_of(ids), kind="stable")

    def of(self, slot: int) -> slice | NDArray[np.int64]:
        """The slot's rows, in the order in which they are in the table: to index its columns with."""
        inside = slice(int(self._starts[slot]), int(self._ends[slot]))
        return inside if self._order is None else self._order[inside]
