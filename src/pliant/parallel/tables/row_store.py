"""The rows of one table on one server.

Theory of operation. A row is made by its first update, never by being looked at: until then its value is a function of
its id (``init_rows.py``), which is as good as having it. So looking changes nothing, and servers that hold copies
need to be told of updates only.

What a row is depends on the updates of its own id and nothing else: not on the batch, on the other slots that a server
happens to hold, nor on when memory was tidied up. Hence expiry is decided when a row is looked at or updated: one that
was not updated for too many steps counts as not there. :meth:`RowStore.sweep` frees its memory and can be called at any
time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pliant.errors import ConfigError, ProtocolError
from pliant.parallel.tables.budget import Budget, growing, require_rows
from pliant.parallel.tables.cells import Ids, Positions
from pliant.parallel.tables.init_rows import initial_rows
from pliant.parallel.tables.row_optimizers import apply_update, state_columns
from pliant.parallel.tables.row_set import Column, RowSet
from pliant.parallel.tables.snapshot import STATE, Snapshot, check_ids, check_snapshot
from pliant.wire.tables import PENDING, TableSpec

_BLOCK_NUMBERS = 1 << 16
"""Numbers of rows that are updated at a time: with state and gradients they stay in the processor's own cache."""


class RowStore:
    """Rows of a table by id, with the optimizer's state. Not for use by several threads at a time."""

    def __init__(self, spec: TableSpec, *, budget: Budget | None = None) -> None:
        """Args: ``budget``: what the tables of this server may use together; None: no limit.

        Raises:
            ConfigError: The spec has impossible values; names all of them.
        """
        problems = spec.problems()
        if problems:
            raise ConfigError(problems)
        self.spec = spec
        self._state = state_columns(spec.optimizer, spec.dim)
        columns = {"rows": Column((spec.dim,), "float32"), "touched": Column((), "int64")}
        columns |= {STATE + column.name: Column((column.width,), "float32") for column in self._state}
        self._rows = RowSet(columns)
        self._pending = RowSet({"touched": Column((), "int64"), "counts": Column((), "int64")})
        self.limited = True
        """``max_rows`` and the budget refuse rows; else these only count."""
        self._budget = budget or Budget()
        self._budget.add(self)

    def share(self, budget: Budget) -> None:
        """From now on this budget holds, which others use as well; what is held already counts."""
        self._budget = budget
        budget.add(self)

    @property
    def rows(self) -> int:
        """Rows that are held, those included that have expired and were not yet swept."""
        return len(self._rows)

    @property
    def size_bytes(self) -> int:
        """Of memory in use: rows, state, index and counts."""
        return self._rows.size_bytes + self._pending.size_bytes

    def pull(self, ids: torch.Tensor, *, step: int) -> torch.Tensor:
        """The rows of ``ids`` as they are before step ``step``; changes nothing.

        Args:
            ids: (n,) int64, rising.
            step: which decides what has expired.

        Returns:
            (n, dim) float32; a copy.

        Raises:
            ProtocolError: Ids are not int64, or do not rise.
        """
        wanted = self._checked(ids)
        positions = self._rows.find(wanted)
        there = positions >= 0
        there[there] = ~self._expired(self._rows, positions[there], step)
        if there.all():
            return torch.from_numpy(self._rows.columns["rows"].take(positions))
        found = np.empty((len(wanted), self.spec.dim), np.float32)
        found[there] = self._rows.columns["rows"].take(positions[there])
        found[~there] = initial_rows(self.spec, wanted[~there])
        return torch.from_numpy(found)

    def push(self, ids: torch.Tensor, grads: torch.Tensor, *, step: int) -> None:
        """Update the rows of ``ids`` with their gradients. Call it once for each step.

        Args:
            ids: (n,) int64, rising.
            grads: (n, dim) float32.
            step: number of this update in the job.

        Raises:
            ProtocolError: Ids or gradients are not as described; nothing has changed.
            MemoryLimitError: There is no room for the new rows; nothing has changed.
        """
        updated = self._checked(ids)
        if grads.dtype != torch.float32 or tuple(grads.shape) != (len(updated), self.spec.dim):
            raise ProtocolError(
                f"table {self.spec.name}: gradients are {grads.dtype} {tuple(grads.shape)}, "
                f"expected torch.float32 {(len(updated), self.spec.dim)}"
            )
        for rows in (self._rows, self._pending):
            self._forget_expired(rows, updated, step)
        positions = self._rows.find(updated)
        absent = positions < 0
        if absent.any():
            with growing(self.spec.name, rows=len(self._rows), more_rows=int(absent.sum())):
                self._admit(updated[absent], step)
            positions[absent] = self._rows.find(updated[absent])
        there = positions >= 0
        if not there.all():
            positions, grads = positions[there], grads[torch.from_numpy(there)]
        self._update(positions, grads.detach().contiguous())
        _touch(self._rows, positions, step)

    def sweep(self, step: int) -> int:
        """Free the memory of what has expired before step ``step``; returns how many rows."""
        before = len(self._rows)
        for rows in (self._rows, self._pending):
            everything = np.arange(len(rows), dtype=np.int64)
            rows.remove(everything[self._expired(rows, everything, step)])
        return before - len(self._rows)

    def snapshot(self, slot: int) -> Snapshot:
        """A copy of all that is held of a slot (``snapshot.py``). Sweep before it if it is to be compared."""
        found: Snapshot = {}
        for group, rows in (("", self._rows), (PENDING, self._pending)):
            positions = rows.in_slot(slot)
            found[group + "ids"] = torch.from_numpy(rows.ids_at(positions))
            found |= {group + key: torch.from_numpy(value) for key, value in rows.values(positions).items()}
        return found

    def install(self, slot: int, value: Snapshot) -> None:
        """Hold what a snapshot has, in place of all that was held of this slot.

        Raises:
            ProtocolError: It is no snapshot of this slot of such a table; nothing has changed.
            MemoryLimitError: There is no room for it; nothing has changed.
        """
        check_snapshot(self.spec, value, slot=slot)
        more, more_pending = (
            max(0, len(value[group + "ids"]) - len(rows.in_slot(slot)))
            for group, rows in (("", self._rows), (PENDING, self._pending))
        )
        self._require(more, more_pending)
        self.drop(slot)
        with growing(self.spec.name, rows=len(self._rows), more_rows=more):
            for group, rows in (("", self._rows), (PENDING, self._pending)):
                positions = rows.insert(value[group + "ids"].numpy())
                for key, arena in rows.columns.items():
                    arena.put(positions, value[group + key].numpy())

    def drop(self, slot: int) -> None:
        """Hold nothing of a slot any more."""
        for rows in (self._rows, self._pending):
            rows.remove(rows.in_slot(slot))

    def _checked(self, ids: torch.Tensor) -> Ids:
        if ids.dtype != torch.int64 or ids.dim() != 1:
            raise ProtocolError(
                f"table {self.spec.name}: ids are {ids.dtype} {tuple(ids.shape)}, expected torch.int64 in one dimension"
            )
        found: Ids = ids.numpy()
        check_ids(self.spec.name, found)
        return found

    def _expired(self, rows: RowSet, positions: Positions, step: int) -> NDArray[np.bool_]:
        if self.spec.expire_after_steps is None:
            return np.zeros(len(positions), np.bool_)
        unseen: NDArray[np.bool_] = step - rows.columns["touched"].take(positions) > self.spec.expire_after_steps
        return unseen

    def _forget_expired(self, rows: RowSet, ids: Ids, step: int) -> None:
        if self.spec.expire_after_steps is None:
            return
        positions = rows.find(ids)
        positions = positions[positions >= 0]
        rows.remove(positions[self._expired(rows, positions, step)])

    def _admit(self, ids: Ids, step: int) -> None:
        """Count ids that have no row, and make the rows of those that were seen often enough."""
        if self.spec.min_count == 1:
            self._require(len(ids), 0)
            self._create(ids, step)
            return
        positions = self._pending.find(ids)
        seen = np.ones(len(ids), np.int64)
        seen[positions >= 0] += self._pending.columns["counts"].take(positions[positions >= 0])
        enough = seen >= self.spec.min_count
        first = ids[~enough & (positions < 0)]
        self._require(int(enough.sum()), len(first))
        self._create(ids[enough], step)
        self._pending.columns["touched"].put(self._pending.insert(first), np.full(len(first), step))
        waiting = self._pending.find(ids[~enough])
        self._pending.columns["counts"].put(waiting, seen[~enough])
        _touch(self._pending, waiting, step)
        self._pending.remove(self._pending.find(ids[enough & (positions >= 0)]))

    def _require(self, rows: int, pending: int) -> None:
        if not self.limited:
            return
        require_rows(self.spec.name, rows=len(self._rows), more_rows=rows, most=self.spec.max_rows)
        more_bytes = self._rows.bytes_to_insert(rows) + self._pending.bytes_to_insert(pending)
        self._budget.require(self.spec.name, rows=len(self._rows), more_rows=rows + pending, more_bytes=more_bytes)

    def _create(self, ids: Ids, step: int) -> None:
        positions = self._rows.insert(ids)
        self._rows.columns["rows"].put(positions, initial_rows(self.spec, ids))
        self._rows.columns["touched"].put(positions, np.full(len(ids), step))
        for column in self._state:
            first = np.full((len(ids), column.width), column.initial, np.float32)
            self._rows.columns[STATE + column.name].put(positions, first)

    def _update(self, positions: Positions, grads: torch.Tensor) -> None:
        arenas = [self._rows.columns["rows"], *(self._rows.columns[STATE + column.name] for column in self._state)]
        block = max(1, _BLOCK_NUMBERS // self.spec.dim)
        for start in range(0, len(positions), block):
            at = positions[start : start + block]
            parts = [arena.take(at) for arena in arenas]
            rows, *state = map(torch.from_numpy, parts)
            apply_update(self.spec.optimizer, rows=rows, state=state, grads=grads[start : start + block])
            for arena, part in zip(arenas, parts, strict=True):
                arena.put(at, part)


def _touch(rows: RowSet, positions: Positions, step: int) -> None:
    touched = rows.columns["touched"]
    touched.put(positions, np.maximum(touched.take(positions), step))
