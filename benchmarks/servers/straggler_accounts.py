"""Runs with a slow worker, as values: useful samples a second, losses, staleness. Pure; from the runs' reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import msgspec

from benchmarks.page import row
from benchmarks.spread import Spread, spread
from pliant.wire.api import Report

WARM_UP, LAST = 5, 5
"""Steps at the beginning and at the end that are left out."""
LOSSES = 10
"""So many last ones make the final loss."""


@dataclass(frozen=True)
class Mode:
    """One way to train. ``options``: of ``pliant run``."""

    text: str
    options: tuple[str, ...]


MODES = {
    "even": Mode("synchronous, dealt evenly", ("--deal", "even")),
    "speed": Mode("synchronous, dealt by speed", ("--deal", "speed")),
    "stale": Mode("`--staleness 4`", ("--staleness", "4")),
    "free": Mode("`--staleness none`", ("--staleness", "none")),
}
"""The synchronous ones first."""
SYNCHRONOUS, ASYNCHRONOUS = ("even", "speed"), ("stale", "free")


class StragglerRun(msgspec.Struct, frozen=True):
    """One run of one mode. Rates are useful samples a second: those of committed steps."""

    mode: str
    number: int
    """Of its round."""
    rate_before: float
    rate: float
    """With the slow worker."""
    loss: float
    """The mean of the last steps'."""
    samples: int
    """Committed in the whole run."""
    expected: int
    """Of so many steps."""
    staleness: dict[int, int]
    """How many pushes came how many updates after their worker's pull; empty: synchronous."""


def run_of(report: Report, *, mode: str, number: int, settled: int, samples: int) -> StragglerRun:
    """What a report says.

    Args:
        report: of a run whose plan slowed a worker down.
        mode: one of :data:`MODES`.
        number: of the round.
        settled: steps after the event that are left out.
        samples: of a step.

    Raises:
        RuntimeError: No worker was slowed down, or too late to measure anything.
    """
    begun = next((event.step for event in report.events if event.kind == "plan_signal"), None)
    if begun is None:
        raise RuntimeError(f"no worker was slowed down: {[event.kind for event in report.events]}")
    last = len(report.commit_times_s) - 1 - LAST
    if not WARM_UP < begun - 1 < begun + settled < last:
        raise RuntimeError(f"slowed down at step {begun} of {report.steps}: nothing is left to measure")
    losses = [loss for loss in report.losses[-LOSSES:] if loss is not None]
    return StragglerRun(
        mode=mode,
        number=number,
        rate_before=rate(report.commit_times_s, WARM_UP, begun - 1, samples=samples),
        rate=rate(report.commit_times_s, begun + settled, last, samples=samples),
        loss=fmean(losses),
        samples=report.samples,
        expected=report.steps * samples,
        staleness=report.pushes_by_staleness,
    )


def rate(times_s: Sequence[float], first: int, last: int, *, samples: int) -> float:
    """Samples a second from the commit of step ``first`` to that of ``last``."""
    return (last - first) * samples / (times_s[last] - times_s[first])


def ahead(runs: Sequence[StragglerRun], mode: str, other: str) -> Spread | None:
    """The rate of one mode over another's, round by round; None without a round that has both."""
    theirs = {run.number: run.rate for run in runs if run.mode == other}
    found = [run.rate / theirs[run.number] for run in runs if run.mode == mode and run.number in theirs]
    return spread(found) if found else None


def staleness_text(histogram: Mapping[int, int]) -> str:
    """``1.9 on average, 99 % at most 4, never over 7``."""
    pushes = sum(histogram.values())
    if not pushes:
        return "0"
    average = sum(behind * count for behind, count in histogram.items()) / pushes
    seen, most = 0, max(histogram)
    for behind in sorted(histogram):
        seen += histogram[behind]
        if seen >= 0.99 * pushes:
            return f"{average:.1f} on average, 99 % at most {behind}, never over {most}"
    raise AssertionError("unreachable: all pushes are in the histogram")


def stragglers_table(runs: Sequence[StragglerRun]) -> str:
    """A line for each mode."""
    heads = ("training", "runs", "samples a second before", "with the slow worker", "over dealt evenly")
    lines = [row(*heads, "over dealt by speed", "final loss", "staleness"), row(*["---"] * (len(heads) + 3))]
    for mode, what in MODES.items():
        same = [run for run in runs if run.mode == mode]
        if not same:
            continue
        ratios = [found.text() if (found := ahead(runs, mode, other)) else "" for other in SYNCHRONOUS]
        before, rates = (_over(same, value).text(digits=0) for value in (lambda run: run.rate_before, lambda r: r.rate))
        loss = _over(same, lambda run: run.loss).text(digits=3)
        lines.append(row(what.text, len(same), before, rates, *ratios, loss, staleness_text(_together(same))))
    return "\n".join(lines)


def _over(runs: Sequence[StragglerRun], value: Callable[[StragglerRun], float]) -> Spread:
    return spread([value(run) for run in runs])


def _together(runs: Sequence[StragglerRun]) -> dict[int, int]:
    found: dict[int, int] = {}
    for run in runs:
        for behind, count in run.staleness.items():
            found[behind] = found.get(behind, 0) + count
    return found
