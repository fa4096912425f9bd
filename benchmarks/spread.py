"""Medians and spread; the only statistics that the results show."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """Median, quartiles and number of the values."""

    median: float
    low: float
    high: float
    count: int

    def text(self, *, scale: float = 1.0, digits: int = 2) -> str:
        """``median (low-high)``."""
        low, middle, high = (f"{value * scale:.{digits}f}" for value in (self.low, self.median, self.high))
        return f"{middle} ({low}-{high})"


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high, len(values))
