"""Which leases' pushes a slot has applied: so that each is applied once, however often and by whomever it is sent.

A push is named by its lease and by its number within it: a shard's gradients may come in several parts, one for each
optimizer. Leases are numbered over the whole job. Pure.
"""

from __future__ import annotations

from typing import Any

import torch

from pliant.errors import ProtocolError


class AppliedLeases:
    """Of one slot.

    Attributes:
        floor: all leases below are applied; nothing is remembered of them.
    """

    def __init__(self) -> None:
        self.floor = 0
        self._parts: dict[int, int] = {}
        """Lease -> how many of its parts were applied."""

    def __len__(self) -> int:
        """Leases that are remembered."""
        return len(self._parts)

    def has(self, lease: int, part: int) -> bool:
        """It was applied."""
        return lease < self.floor or self._parts.get(lease, 0) > part

    def note(self, lease: int, part: int, *, floor: int) -> None:
        """It is applied now; and whoever sent it knows that all leases below ``floor`` are done."""
        self._parts[lease] = max(self._parts.get(lease, 0), part + 1)
        if floor > self.floor:
            self.floor = floor
            self._parts = {each: parts for each, parts in self._parts.items() if each >= floor}

    def plain(self) -> dict[str, Any]:
        """For :func:`pliant.transfer.spec.encode`."""
        known = sorted(self._parts.items())
        return {"floor": self.floor, "parts": torch.tensor(known, dtype=torch.int64).reshape(-1, 2)}

    @classmethod
    def from_plain(cls, value: Any) -> AppliedLeases:
        """The reverse of :meth:`plain`. Raises ProtocolError: it is something else."""
        found = cls()
        try:
            found.floor = int(value["floor"])
            found._parts = {int(lease): int(parts) for lease, parts in value["parts"].tolist()}
        except (TypeError, LookupError, ValueError, AttributeError) as error:
            raise ProtocolError(f"what came as the leases of a slot is none: {error}") from error
        return found
