"""Rows with an id, each in one slot: an index, and one arena for each column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pliant.parallel.tables.arena import Arena
from pliant.parallel.tables.cells import Ids, Positions
from pliant.parallel.tables.row_index import RowIndex
from pliant.transfer.row_slots import slot_of


class Column(NamedTuple):
    """What each row has one of."""

    shape: tuple[int, ...]
    dtype: str


class RowSet:
    """Rows by id. Positions are dense, and change when rows are removed."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._index = RowIndex()
        self.columns = {name: Arena(column.shape, column.dtype) for name, column in columns.items()}
        """All positions of an arena below ``len(self)`` are rows."""
        self._slots = Arena((), np.uint8)
        self._row_bytes = sum(arena.row_bytes for arena in self._arenas())

    def __len__(self) -> int:
        return len(self._index)

    @property
    def size_bytes(self) -> int:
        """Of memory in use."""
        return self._index.size_bytes + len(self) * self._row_bytes

    def bytes_to_insert(self, more: int) -> int:
        """Memory that inserting so many new rows takes at its most, beyond what is in use."""
        return self._index.bytes_to_insert(more) + more * self._row_bytes

    def ids_at(self, positions: Positions) -> Ids:
        """The ids of rows."""
        return self._index.ids().take(positions)

    def find(self, ids: Ids) -> Positions:
        """The position of each id, -1 for one that is not there."""
        return self._index.find(ids)

    def in_slot(self, slot: int) -> Positions:
        """All rows of a slot, by rising ids."""
        positions = np.flatnonzero(self._slots.array[: len(self)] == slot)
        return positions[np.argsort(self.ids_at(positions))]

    def insert(self, ids: Ids) -> Positions:
        """Add rows, none of which is there; the caller fills their columns.

        Raises:
            OSError: The system gives no more memory; everything is as it was.
        """
        rows = len(self) + len(ids)
        for arena in self._arenas():
            arena.reserve(rows)
        positions = self._index.insert(ids)
        self._slots.put(positions, slot_of(ids))
        return positions

    def remove(self, positions: Positions) -> None:
        """Remove rows; positions found before mean nothing afterwards."""
        if not len(positions):
            return
        moves = self._index.remove(self.ids_at(positions))
        for arena in self._arenas():
            arena.put(moves.targets, arena.take(moves.sources))
            arena.release(len(self))

    def values(self, positions: Positions) -> dict[str, NDArray[Any]]:
        """A copy of all columns of rows."""
        return {name: arena.take(positions) for name, arena in self.columns.items()}

    def _arenas(self) -> list[Arena]:
        return [*self.columns.values(), self._slots]
