"""The hash table of a row index: cells of 16 bytes, an id and its row's position, for whole batches at a time.

Open addressing with linear probing. The first cell to look at is given by the highest bits of the id's hash. What
stands for the position says as well whether there is an id: so every 64-bit integer may be one.

What a batch costs is the cache misses, one for each id: an id and its position are read together, the loads of a batch
do not depend on each other, so that the processor has many under way, and the cells that follow lie mostly in the line
that is there already.
"""

from __future__ import annotations

from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from pliant.parallel.tables.arena import empty_mapping, put_rows
from pliant.transfer.row_slots import mixed

Ids = NDArray[np.int64]
Positions = NDArray[np.int64]

CELL_BYTES = 16
# A position is held as the number after it, so that fresh memory, which is all zeros, is a table without ids.
_UNUSED = 0
"""Was never used: a search ends here."""
_REMOVED = -1
"""Its id was removed: a search goes on."""
_ABSENT = -1
_WIDTHS = (1, 2, 4, 8, 16)
"""Cells that are looked at together, after the first: most searches end soon, and those that do not want few rounds."""


class Cells:
    """A table of ``2 ** bits`` cells. Whoever uses it sees to it that many of them are never used."""

    def __init__(self, bits: int) -> None:
        """Raises ``OSError`` if the system gives no more memory."""
        self.bits = bits
        self.size_bytes = CELL_BYTES << bits
        self.used = 0
        """Cells that a search does not end at."""
        self._mask = (1 << bits) - 1
        self._cells = np.frombuffer(empty_mapping(self.size_bytes), np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return self._mask + 1

    def probe(self, ids: Ids) -> tuple[NDArray[np.int64], Positions]:
        """The cell and position of each id; positions are -1, and cells mean nothing, where there is none."""
        at = self.home(ids)
        first = self._cells.take(at, axis=0)
        marks = np.where(first[:, 0] == ids, first[:, 1], _REMOVED)
        open_ = np.flatnonzero((marks < 0) & (first[:, 1] != _UNUSED))
        offset = 1
        for width in chain(_WIDTHS, repeat(_WIDTHS[-1])):
            if not len(open_):
                break
            window = (at[open_] + np.arange(offset, offset + width)[:, None]) & self._mask
            seen = self._cells.take(window, axis=0)
            row, column = np.nonzero((seen[:, :, 0] == ids[open_]) & (seen[:, :, 1] > 0))
            marks[open_[column]] = seen[row, column, 1]
            at[open_[column]] = window[row, column]
            done = (seen[:, :, 1] == _UNUSED).any(axis=0)
            done[column] = True
            open_ = open_[~done]
            offset += width
        return at, np.maximum(marks - 1, _ABSENT)

    def claim(self, ids: Ids, positions: Positions) -> NDArray[np.int64]:
        """Take in ids that are not there, and differ from each other; returns the cell of each."""
        numbers = self._cells.reshape(-1)  # ids at even places, marks at odd ones
        cells = np.stack([ids, positions + 1], axis=1)
        at = self.home(ids)
        settled = at.copy()
        open_ = np.arange(len(ids))
        while len(cells):
            before = numbers.take(2 * at + 1)
            free = np.flatnonzero(before <= 0)
            # Of those that want the same cell one wins; reading it back tells which.
            put_rows(self._cells, at[free], cells.take(free, axis=0))
            lost = numbers.take(2 * at + 1) != cells[:, 1]
            self.used += int(np.count_nonzero((before == _UNUSED) & ~lost))
            again = np.flatnonzero(lost)
            cells, open_ = cells.take(again, axis=0), open_.take(again)
            at = (at.take(again) + 1) & self._mask
            settled[open_] = at
        return settled

    def assign(self, at: NDArray[np.int64], positions: Positions) -> None:
        """New positions for the ids in some cells."""
        self._cells[at, 1] = positions + 1

    def erase(self, at: NDArray[np.int64]) -> None:
        """Remove the ids in some cells."""
        self._cells[at, 1] = _REMOVED

    def take_out(self, start: int, stop: int) -> tuple[Ids, Positions]:
        """Remove all ids in a part of the table; returns them and their positions."""
        part = self._cells[start:stop]
        live = np.flatnonzero(part[:, 1] > 0)
        found = part.take(live, axis=0)
        part[live, 1] = _REMOVED
        return found[:, 0], found[:, 1] - 1

    def home(self, ids: Ids) -> NDArray[np.int64]:
        """The first cell to look at for each id."""
        return (mixed(ids) >> np.uint64(64 - self.bits)).view(np.int64)
