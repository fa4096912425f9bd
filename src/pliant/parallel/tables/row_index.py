"""From row ids to positions, for whole batches at a time.

At most 60 % of the cells of the hash table are in use; then there is a larger one. To move everything at once would
hold up a table of millions of rows for a second, so the cells move little by little, with each insertion some, in the
order of the old table, which is nearly that of the new. Until all have moved, what is not found in the new one is
looked for in the rest of the old, and new ids go where they would be if they had been there before.

Positions are dense: those of n rows are 0 to n-1. A removal moves the last rows into the holes and says which.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pliant.parallel.tables.arena import Arena
from pliant.parallel.tables.cells import CELL_BYTES, Cells, Ids, Positions

_SMALLEST_BITS = 10
_MOST_USED = 0.6
_MOST_USED_AT_LAST = 0.75
"""Of the old table, while it moves."""
_WANTED_USED = 0.5
"""At most, in a new table, so that the next is not near."""
_LEAST_MOVED = 1 << 12
"""Cells that an insertion moves at least."""
_MOVED_PER_ID = 8
"""Cells that an insertion moves for each new id: all have moved long before the new table is full."""
_BLOCK_CELLS = 1 << 17
_ALL = 1 << 62


class Moves(NamedTuple):
    """Rows that a removal moves, from ``sources`` to ``targets``."""

    sources: Positions
    targets: Positions


class _Place(NamedTuple):
    """Where some of the ids are that were looked for."""

    table: Cells
    which: NDArray[np.int64]
    at: NDArray[np.int64]


class RowIndex:
    """Positions of rows by id."""

    def __init__(self) -> None:
        self._count = 0
        self._ids = Arena((), np.int64)
        self._cells = Cells(_SMALLEST_BITS)
        self._old: Cells | None = None
        self._next = 0
        """First cell of the old table that has not moved."""
        self._left = 0
        """Ids in the old table that have not moved."""

    def __len__(self) -> int:
        return self._count

    def ids(self) -> Ids:
        """The ids, by position; a view, until the next change."""
        found: Ids = self._ids.array[: self._count]
        return found

    @property
    def size_bytes(self) -> int:
        """Of memory in use."""
        tables = self._cells.size_bytes + (0 if self._old is None else self._old.size_bytes)
        return tables + self._count * self._ids.row_bytes

    def bytes_to_insert(self, more: int) -> int:
        """Memory that inserting so many new ids takes at its most, beyond what is in use."""
        bits = self._wanted_bits(more)
        return (0 if bits is None else CELL_BYTES << bits) + more * self._ids.row_bytes

    def find(self, ids: Ids) -> Positions:
        """The position of each id, -1 for one that is not there. Ids may repeat."""
        return self._locate(ids)[0]

    def insert(self, ids: Ids) -> Positions:
        """The position of each id; one that is not there gets the next. Ids must differ from each other.

        Raises:
            OSError: The system gives no more memory; everything is as it was.
        """
        positions = self.find(ids)
        absent = np.flatnonzero(positions < 0)
        more = len(absent)
        if more:
            self._ids.reserve(self._count + more)
            self._make_room(more)
            positions[absent] = np.arange(self._count, self._count + more)
            self._ids.array[self._count : self._count + more] = ids[absent]
            self._claim(ids[absent], positions[absent])
            self._count += more
        return positions

    def remove(self, ids: Ids) -> Moves:
        """Remove ids that are there, and differ from each other. The caller moves its rows as the result says.

        Raises:
            KeyError: One is not there; nothing has changed.
        """
        positions, places = self._locate(ids)
        if (positions < 0).any():
            raise KeyError(int(ids[np.argmax(positions < 0)]))
        left = self._count - len(ids)
        stays = np.ones(len(ids), np.bool_)
        stays[positions[positions >= left] - left] = False
        moves = Moves(left + np.flatnonzero(stays), np.sort(positions[positions < left]))
        for table, _, at in places:
            table.erase(at)
            self._left -= len(at) if table is self._old else 0
        moved = self._ids.take(moves.sources)
        for table, which, at in self._locate(moved)[1]:
            table.assign(at, moves.targets[which])
        self._ids.put(moves.targets, moved)
        self._count = left
        self._ids.release(left)
        self._shrink()
        return moves

    def _locate(self, ids: Ids) -> tuple[Positions, list[_Place]]:
        at, positions = self._cells.probe(ids)
        there = np.flatnonzero(positions >= 0)
        places = [_Place(self._cells, there, at[there])]
        if self._old is not None and len(there) < len(ids):
            rest = np.flatnonzero(positions < 0)
            at, found = self._old.probe(ids[rest])
            unmoved = np.flatnonzero(found >= 0)
            positions[rest[unmoved]] = found[unmoved]
            places.append(_Place(self._old, rest[unmoved], at[unmoved]))
        return positions, places

    def _claim(self, ids: Ids, positions: Positions) -> None:
        old = self._old
        if old is not None and old.used + len(ids) <= _MOST_USED_AT_LAST * len(old):
            # To the part of the old table that has not moved, if there: so the new one comes into use from its
            # beginning on, and the system need not find memory for all of it at once.
            early = old.home(ids) >= self._next
            which = np.flatnonzero(early)
            at = old.claim(ids[which], positions[which])
            around = at < self._next  # from the end of the table to its beginning, which has moved
            old.erase(at[around])
            early[which[around]] = False
            self._left += int(np.count_nonzero(early))
            ids, positions = ids[~early], positions[~early]
        self._cells.claim(ids, positions)

    def _wanted_bits(self, more: int) -> int | None:
        """Size of the table that so many more ids want; None: there is room in the present one."""
        if self._cells.used + self._left + more <= _MOST_USED * len(self._cells):
            return None
        return _bits_for(self._count + more, self._cells.bits)

    def _make_room(self, more: int) -> None:
        bits = self._wanted_bits(more)
        if bits is not None:
            self._begin(bits)
        self._advance(max(_MOVED_PER_ID * more, _LEAST_MOVED))

    def _begin(self, bits: int) -> None:
        """Begin to move to a new table."""
        cells = Cells(bits)
        if self._old is not None:
            self._advance(_ALL)
        self._old, self._cells = self._cells, cells
        self._next, self._left = 0, self._count

    def _advance(self, cells: int) -> None:
        """Move so many cells of the old table."""
        if self._old is None:
            return
        end = min(self._next + cells, len(self._old))
        for start in range(self._next, end, _BLOCK_CELLS):
            ids, positions = self._old.take_out(start, min(start + _BLOCK_CELLS, end))
            self._cells.claim(ids, positions)
            self._left -= len(ids)
        self._next = end
        if end == len(self._old):
            self._old = None

    def _shrink(self) -> None:
        if self._count < len(self._cells) // 8 and self._cells.bits > _SMALLEST_BITS:
            with suppress(OSError):  # then it stays as large as it is
                self._begin(_bits_for(self._count, _SMALLEST_BITS))
                self._advance(_ALL)


def _bits_for(count: int, least: int) -> int:
    bits = least
    while count > _WANTED_USED * (1 << bits):
        bits += 1
    return bits
