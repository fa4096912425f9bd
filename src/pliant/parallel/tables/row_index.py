"""From row ids to positions, for whole batches at a time.

Theory of operation. Open addressing with linear probing in a table of cells (id, position). The first cell to look at
is given by the highest bits of the id's hash. A position below 0 says that there is no id: the cell was never used, and
a search ends here; or its id was removed, and a search goes on. So every 64-bit integer may be an id.

What a batch costs is the cache misses, one for each id: an id and its position are read together (16 bytes), the loads
of a batch do not depend on each other, so that the processor has many under way, and the cells that follow lie mostly
in the line that is there already. At most 60 % of the cells are in use; beyond, all move to a larger table, in the
order of the old one, which is nearly that of the new.

Positions are dense: those of n rows are 0 to n-1. A removal moves the last rows into the holes and says which.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pliant.parallel.tables.arena import Arena, empty_mapping
from pliant.parallel.tables.slots import mixed

Ids = NDArray[np.int64]
Positions = NDArray[np.int64]

_UNUSED = -1
_REMOVED = -2
_CELL_BYTES = 16
_SMALLEST_BITS = 10
_MOST_USED = 0.6
_WANTED_USED = 0.5
"""At most, after a rebuilding, so that the next is not near."""
_WINDOW = np.arange(8, dtype=np.int64)
"""Cells that are looked at together: two cache lines."""
_BLOCK_CELLS = 1 << 18


class Moves(NamedTuple):
    """Rows that a removal moves, from ``sources`` to ``targets``."""

    sources: Positions
    targets: Positions


class RowIndex:
    """Positions of rows by id."""

    def __init__(self) -> None:
        self._removed = 0
        self._count = 0
        self._ids = Arena((), np.int64)
        self._new_cells(_SMALLEST_BITS)

    def __len__(self) -> int:
        return self._count

    def ids(self) -> Ids:
        """The ids, by position; a view, until the next change."""
        found: Ids = self._ids.array[: self._count]
        return found

    @property
    def size_bytes(self) -> int:
        """Of memory in use."""
        return _cells_bytes(self._bits) + self._count * self._ids.row_bytes

    def bytes_to_insert(self, more: int) -> int:
        """Memory that inserting so many new ids takes at its most, beyond what is in use."""
        bits = self._larger(more)
        cells = 0 if bits is None else _cells_bytes(bits)  # the old ones go only when the new are filled
        return cells + more * self._ids.row_bytes

    def find(self, ids: Ids) -> Positions:
        """The position of each id, -1 for one that is not there. Ids may repeat."""
        return self._probe(ids)[1]

    def insert(self, ids: Ids) -> Positions:
        """The position of each id; one that is not there gets the next. Ids must differ from each other.

        Raises:
            OSError: The system gives no more memory; everything is as it was.
        """
        positions = self.find(ids)
        absent = np.flatnonzero(positions < 0)
        if len(absent):
            more = len(absent)
            self._ids.reserve(self._count + more)
            bits = self._larger(more)
            if bits is not None:
                self._rebuild(bits)
            new = np.arange(self._count, self._count + more, dtype=np.int64)
            positions[absent] = new
            self._ids.array[self._count : self._count + more] = ids[absent]
            self._removed -= self._claim(ids[absent], new)
            self._count += more
        return positions

    def remove(self, ids: Ids) -> Moves:
        """Remove ids that are there, and differ from each other. The caller moves its rows as the result says.

        Raises:
            KeyError: One is not there; nothing has changed.
        """
        cells, positions = self._probe(ids)
        if (positions < 0).any():
            raise KeyError(int(ids[np.argmax(positions < 0)]))
        left = self._count - len(ids)
        stays = np.ones(len(ids), np.bool_)
        stays[positions[positions >= left] - left] = False
        moves = Moves(left + np.flatnonzero(stays), np.sort(positions[positions < left]))
        moved = self._ids.take(moves.sources)
        self._cells[cells, 1] = _REMOVED
        self._cells[self._probe(moved)[0], 1] = moves.targets
        self._ids.put(moves.targets, moved)
        self._count = left
        self._removed += len(ids)
        self._ids.release(left)
        if left < len(self._cells) // 8 and self._bits > _SMALLEST_BITS:
            with suppress(OSError):  # then it stays as large as it is
                self._rebuild(_bits_for(left, _SMALLEST_BITS))
        return moves

    def _probe(self, ids: Ids) -> tuple[NDArray[np.int64], Positions]:
        """The cell and position of each id; positions are -1, and cells mean nothing, where there is none."""
        at = self._home(ids)
        first = self._cells.take(at, axis=0)
        positions = np.where(first[:, 0] == ids, first[:, 1], _REMOVED)
        open_ = np.flatnonzero((positions < 0) & (first[:, 1] != _UNUSED))
        offset = 1
        while len(open_):
            window = (at[open_, None] + (offset + _WINDOW)) & self._mask
            seen = self._cells.take(window, axis=0)
            hits = (seen[:, :, 0] == ids[open_, None]) & (seen[:, :, 1] >= 0)
            hit = hits.any(axis=1)
            which = np.flatnonzero(hit)
            column = hits[which].argmax(axis=1)
            positions[open_[which]] = seen[which, column, 1]
            at[open_[which]] = window[which, column]
            open_ = open_[~(hit | (seen[:, :, 1] == _UNUSED).any(axis=1))]
            offset += len(_WINDOW)
        np.maximum(positions, _UNUSED, out=positions)
        return at, positions

    def _claim(self, ids: Ids, positions: Positions) -> int:
        """Give each id, none of which is there, a cell; returns how many of the cells were those of removed ids."""
        numbers = self._cells.reshape(-1)  # ids at even places, positions at odd ones
        at = self._home(ids)
        reused = 0
        while len(ids):
            place = 2 * at + 1
            before = numbers.take(place)
            free = before < 0
            # Of those that want the same cell one wins; reading it back tells which.
            numbers[place[free]] = positions[free]
            won = free & (numbers.take(place) == positions)
            numbers[place[won] - 1] = ids[won]
            reused += int(np.count_nonzero(before[won] == _REMOVED))
            lost = ~won
            ids, positions = ids[lost], positions[lost]
            at = (at[lost] + 1) & self._mask
        return reused

    def _home(self, ids: Ids) -> NDArray[np.int64]:
        return (mixed(ids) >> np.uint64(64 - self._bits)).view(np.int64)

    def _larger(self, more: int) -> int | None:
        """Size of the table that so many more ids want; None: there is room in the present one."""
        if self._count + self._removed + more <= _MOST_USED * len(self._cells):
            return None
        return _bits_for(self._count + more, self._bits)

    def _rebuild(self, bits: int) -> None:
        old = self._cells
        self._new_cells(bits)
        self._removed = 0
        for start in range(0, len(old), _BLOCK_CELLS):
            block = old[start : start + _BLOCK_CELLS]
            used = block[block[:, 1] >= 0]
            self._claim(used[:, 0].copy(), used[:, 1].copy())

    def _new_cells(self, bits: int) -> None:
        memory = empty_mapping(_cells_bytes(bits))
        self._cells = np.frombuffer(memory, np.int64).reshape(-1, 2)
        self._cells[:, 1] = _UNUSED
        self._bits = bits
        self._mask = (1 << bits) - 1


def _cells_bytes(bits: int) -> int:
    return _CELL_BYTES << bits


def _bits_for(count: int, least: int) -> int:
    bits = least
    while count > _WANTED_USED * (1 << bits):
        bits += 1
    return bits
