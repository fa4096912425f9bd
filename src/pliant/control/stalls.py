"""What an event cost: the longest gap between two commits around it, less an ordinary step. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from pliant.control.progress import median_gap_s

_PRECEDING = 50
COMMITS_AFTER = 2
"""So many commits in the new generation belong to the event: its first step may be slow as well."""


def stall_s(times_s: Sequence[float], *, origin_s: float, begin_s: float, last_step: int) -> float | None:
    """Longest gap that ends after ``begin_s`` and no later than the commit of ``last_step``, minus the median before.

    Args:
        times_s: Commit time of each step.
        origin_s: When training began; the gap of step 0 starts there.
        begin_s: When the event began.
        last_step: Last step that belongs to the event; clipped to what was committed.

    Returns:
        Seconds, at least 0; None if no commit followed the event.

    The median is that of up to 50 gaps which ended before the event; with none, that of all the others.
    """
    first = bisect_right(times_s, begin_s)
    end = min(last_step + 1, len(times_s))
    if first >= end:
        return None
    gaps = [times_s[step] - (times_s[step - 1] if step else origin_s) for step in range(first, end)]
    usual = median_gap_s(times_s[max(0, first - _PRECEDING - 1) : first])
    if not usual:
        usual = median_gap_s(times_s[first:])
    return max(0.0, max(gaps) - usual)
