"""The base of all letters, and runs of slots."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

Run = tuple[int, int]
"""Slots, half-open."""


class Letter(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all headers."""


def runs_of(slots: Iterable[int]) -> list[Run]:
    """The fewest runs that hold exactly these slots, in order."""
    runs: list[Run] = []
    for slot in sorted(slots):
        if runs and runs[-1][1] == slot:
            runs[-1] = (runs[-1][0], slot + 1)
        else:
            runs.append((slot, slot + 1))
    return runs


def slots_in(runs: Iterable[Run]) -> list[int]:
    """The slots of these runs."""
    return [slot for first, stop in runs for slot in range(first, stop)]
