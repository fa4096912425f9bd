"""Memory for rows that grows without being copied, so that growing needs no second copy's worth of memory.

An arena is a private anonymous mapping. It grows by ``mremap``, which moves page tables and not bytes; pages that were
never written cost nothing, so the mapping may run ahead of the rows. Large arenas ask for huge pages: rows are read in
random order, and with pages of 4 KiB most of the time of reading one would go into finding its page.

Linux only, as all of Pliant.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

CHUNK_ROWS = 1 << 16
_HUGE_BYTES = 64 << 20
"""From this size on huge pages pay; below, many small tables would waste 2 MB for each arena."""
_LEAST_RELEASED_BYTES = 4 << 20
"""Two huge pages: to give back a part of one would break it up."""


def empty_mapping(size_bytes: int) -> mmap.mmap:
    """Zeroed memory of its own mapping."""
    memory = mmap.mmap(-1, max(size_bytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    _want_huge_pages(memory, size_bytes)
    return memory


def take_rows(source: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[Any]:
    """The rows at ``positions`` of a C-contiguous array, in that order; a copy."""
    return source.take(positions, axis=0)


def put_rows(target: NDArray[Any], positions: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Write ``values`` to the rows at ``positions`` of a C-contiguous array; of equal positions one wins."""
    if target.ndim == 1 or not len(positions):
        target[positions] = values
        return
    # As items of a row's size: an assignment by index arrays would go element by element.
    whole = np.dtype((np.void, target.itemsize * prod(target.shape[1:])))
    np.put(_as_items(target, whole), positions, _as_items(np.ascontiguousarray(values, target.dtype), whole))


def _as_items(rows: NDArray[Any], whole: np.dtype[Any]) -> NDArray[Any]:
    return rows.reshape(len(rows), -1).view(whole).reshape(-1)


class Arena:
    """Rows of one shape and dtype, at positions from 0 on."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """``shape``: of one row; ``()`` for a single number."""
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self.row_bytes = prod(shape) * self._dtype.itemsize
        self._memory: mmap.mmap | None = None
        self._written = 0
        """Rows behind these have no memory."""
        self.array: NDArray[Any] = np.empty((0, *shape), self._dtype)
        """All there is room for. Not to be kept over a :meth:`reserve`."""

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all; new ones are not initialised.

        Raises:
            OSError: The system gives no more memory; everything is as it was.
        """
        self._written = max(self._written, rows)
        if rows <= len(self.array):
            return
        wanted = max(rows, len(self.array) + len(self.array) // 4)
        capacity = -(-wanted // CHUNK_ROWS) * CHUNK_ROWS
        self._enlarge(capacity * self.row_bytes)

    def release(self, rows: int) -> None:
        """Give the memory behind the first ``rows`` rows back to the system, if it is worth it; the room stays."""
        if self._memory is None or (self._written - rows) * self.row_bytes < _LEAST_RELEASED_BYTES:
            return
        self._written = rows
        start = -(-rows * self.row_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory.madvise(mmap.MADV_DONTNEED, start, len(self._memory) - start)

    def take(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """A copy of the rows at ``positions``."""
        return take_rows(self.array, positions)

    def put(self, positions: NDArray[np.int64], values: NDArray[Any]) -> None:
        """Write rows; each position at most once."""
        put_rows(self.array, positions, values)

    def _enlarge(self, size_bytes: int) -> None:
        if self._memory is None:
            self._memory = empty_mapping(size_bytes)
        else:
            self.array = np.empty((0, *self._shape), self._dtype)  # memory that is in view cannot be moved
            try:
                self._memory.resize(size_bytes)
                _want_huge_pages(self._memory, size_bytes)
            except BufferError:  # someone looks at it still, a traceback perhaps: they keep the old one
                old, self._memory = self._memory, empty_mapping(size_bytes)
                self._memory[: len(old)] = old[:]
            finally:
                self._look()
        self._look()

    def _look(self) -> None:
        assert self._memory is not None
        rows = len(self._memory) // self.row_bytes
        flat = np.frombuffer(self._memory, self._dtype, count=rows * prod(self._shape))
        self.array = flat.reshape(rows, *self._shape)


def _want_huge_pages(memory: mmap.mmap, size_bytes: int) -> None:
    if size_bytes >= _HUGE_BYTES:
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
