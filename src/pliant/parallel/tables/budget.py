"""How much memory the tables of one server may use. Pure."""

from __future__ import annotations

from typing import Protocol

from pliant.errors import MemoryLimitError

_MB = 1e6


class Sized(Protocol):
    """What counts against a budget."""

    @property
    def size_bytes(self) -> int:
        """Of memory in use."""


class Budget:
    """A limit that several holders of memory share. They ask before they grow."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        """``limit_bytes``: None: no limit."""
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
        used = self.used_bytes
        if self.limit_bytes is None or used + more_bytes <= self.limit_bytes:
            return
        raise MemoryLimitError(
            f"table {table}: {more_rows:,} more rows beside the {rows:,} on this server would take "
            f"{more_bytes / _MB:,.1f} MB, and {used / _MB:,.1f} MB of its limit of {self.limit_bytes / _MB:,.1f} MB "
            "are in use; they were refused, and nothing was changed. Add servers, raise the limit, or keep fewer rows: "
            "expire_after_steps forgets those that are no longer seen, min_count ignores those that are seen rarely, a "
            "smaller dim makes all smaller."
        )


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
