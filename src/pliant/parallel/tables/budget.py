"""How much memory one server may use for its tables, and for what else is counted with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pliant.errors import MemoryLimitError

_MB = 1e6


class Sized(Protocol):
    """What counts against a budget."""

    @property
    def size_bytes(self) -> int:
        """Of memory in use."""


class Budget:
    """A limit that several holders of memory share. Tables ask before they grow; others only count.

    ``limit_bytes`` may be changed at any time; None: no limit.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self._holders: list[Sized] = []

    @property
    def used_bytes(self) -> int:
        """By all of them."""
        return sum(holder.size_bytes for holder in self._holders)

    def add(self, holder: Sized) -> None:
        """Count one more."""
        self._holders.append(holder)

    def require(self, table: str, *, rows: int, more_rows: int, more_bytes: int) -> None:
        """Refuse what would go beyond the limit.

        Args:
            table: that grows.
            rows: that it has.
            more_rows: that it would get.
            more_bytes: that this takes at its most.

        Raises:
            MemoryLimitError: with the numbers, and what to do.
        """
        if self.limit_bytes is None:
            return
        used = self.used_bytes
        if used + more_bytes <= self.limit_bytes:
            return
        raise MemoryLimitError(
            f"table {table}: {more_rows:,} more rows beside the {rows:,} on this server would take "
            f"{more_bytes / _MB:,.1f} MB, and {used / _MB:,.1f} MB of its limit of {self.limit_bytes / _MB:,.1f} MB "
            "(--server-memory) are in use; they were refused, and nothing was changed. Add servers (--servers), raise "
            f"the limit, or {_FEWER}"
        )


_FEWER = (
    "keep fewer rows: expire_after_steps forgets those that are no longer seen, min_count ignores those that are seen "
    "rarely, a smaller dim makes all smaller."
)


@contextmanager
def growing(table: str, *, rows: int, more_rows: int) -> Iterator[None]:
    """The system may give no more memory, whatever the limit is.

    Raises:
        MemoryLimitError: It gives none; with the numbers, and what to do.
    """
    try:
        yield
    except OSError as error:
        raise MemoryLimitError(
            f"table {table}: the system has no memory for {more_rows:,} more rows beside the {rows:,} on this server "
            f"({error.strerror or error}); they were refused. Put servers on machines with more memory, or {_FEWER}"
        ) from error


def require_rows(table: str, *, rows: int, more_rows: int, most: int | None) -> None:
    """Refuse to go beyond a table's ``max_rows``.

    Raises:
        MemoryLimitError: with the numbers, and what to do.
    """
    if most is None or rows + more_rows <= most:
        return
    raise MemoryLimitError(
        f"table {table}: {more_rows:,} more rows beside the {rows:,} on this server would be more than its max_rows of "
        f"{most:,}; they were refused, and nothing was changed. Add servers, raise max_rows, or keep fewer rows "
        "(expire_after_steps, min_count)."
    )
