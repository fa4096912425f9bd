"""What is said of workers that do not wait for each other (``--staleness``), the same in every view. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pliant.wire.api import JobStatus, Report
from pliant.wire.messages import UNBOUNDED


def mode(staleness: int | None) -> str:
    """``synchronous``, ``asynchronous``, ``at most 4 steps apart``."""
    if staleness is None:
        return "synchronous"
    if staleness == UNBOUNDED:
        return "asynchronous"
    if staleness == 0:
        return "all in the same step"
    return f"at most {staleness} step{'' if staleness == 1 else 's'} apart"


def promises(staleness: int) -> str:
    """What a run that is not synchronous keeps, and what it gives up: one line, for its start."""
    who = "no worker waits for another" if staleness == UNBOUNDED else f"workers are {mode(staleness)}"
    return (
        f"{who}: each sample is used once in an epoch and each push is applied once; "
        "that the weights have the same bits each time is not promised"
    )


def measured(status: JobStatus) -> str:
    """``asynchronous, staleness 1.8``; nothing for a synchronous job."""
    if status.staleness is None:
        return ""
    mean = "" if status.mean_staleness is None else f", staleness {status.mean_staleness:.1f}"
    return mode(status.staleness) + mean


def measured_in_all(report: Report) -> str:
    """``1.8 updates on average, 7 at most``; nothing if nothing was measured."""
    if report.mean_staleness is None or not report.pushes_by_staleness:
        return ""
    return f"{report.mean_staleness:.1f} updates on average, {max(report.pushes_by_staleness)} at most"


def pushes_of(report: Report) -> int:
    """All that were made; each was an update."""
    return sum(report.pushes_by_staleness.values())


def bins(pushes: Mapping[int, int], *, most: int) -> list[tuple[int, int, int]]:
    """(lowest, highest staleness, pushes) of up to ``most`` bins of one width, the first one beginning with 0."""
    if not pushes:
        return []
    width = max(pushes) // most + 1
    counts = [0] * (max(pushes) // width + 1)
    for staleness, times in pushes.items():
        counts[staleness // width] += times
    return [(number * width, number * width + width - 1, times) for number, times in enumerate(counts)]
