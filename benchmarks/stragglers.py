"""(e) What one slow worker costs: dealing by measured speed against equal dealing, and the least that it must cost.

A plan makes the last worker 3 times slower (it sleeps after each shard) in the middle of a run. All numbers of a run
are in terms of its own steps before that. The ideal is that of whole shards on workers of known speeds, which is also
what an oracle would get.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import msgspec

from benchmarks.launch import run_plan
from benchmarks.spread import Spread, spread
from pliant.membership.deal_plan import makespan_s, quotas
from pliant.wire.api import Report

SHARDS = 12
FACTOR = 3.0
SLOW_AT, STEPS = 40, 110
WARM_UP, SETTLED = 10, 40
"""Steps that are left out: the first ones, and those until the deal has followed."""
PLAN = f"[[event]]\nat_step = {SLOW_AT}\nslow = {{ workers = 1, factor = {FACTOR:g} }}\n"
WORKLOAD = ("--model", "mlp", "--shards", str(SHARDS), "--per-shard", "64", "--steps", str(STEPS))


class StragglerResult(msgspec.Struct, frozen=True):
    """All repeats with one number of workers and one way of dealing."""

    workers: int
    deal: str
    step_s: Spread
    """Before."""
    slow_step_s: Spread
    ratio: Spread
    """Of the two, run by run."""
    ideal: float
    """The least possible ratio."""


def measure(*, repeats: int) -> list[StragglerResult]:
    """Two and three workers, dealt both ways in turns.

    Raises:
        RuntimeError: A run failed, or the plan's event did not happen.
    """
    results = []
    for workers in (2, 3):
        runs: dict[str, list[tuple[float, float]]] = {"even": [], "speed": []}
        for _ in range(repeats):
            for deal, found in runs.items():
                options = ("--workers", str(workers), "--deal", deal)
                found.append(times_of(run_plan("stragglers", PLAN, options, WORKLOAD)))
        for deal, found in runs.items():
            results.append(
                StragglerResult(
                    workers,
                    deal,
                    spread([before for before, _ in found]),
                    spread([after for _, after in found]),
                    spread([after / before for before, after in found]),
                    ideal=ideal_ratio(workers),
                )
            )
    return results


def ideal_ratio(workers: int) -> float:
    """Step time with one slow worker over that without, if computing were all and every speed known."""
    alike, one_slow = [1.0] * workers, [1.0] * (workers - 1) + [FACTOR]
    before, after = (
        makespan_s(quotas([0] * workers, missing=SHARDS, paces=paces), paces) for paces in (alike, one_slow)
    )
    return after / before


def times_of(report: Report) -> tuple[float, float]:
    """Median step before the event, and after it once the deal has settled."""
    if not any(event.kind == "plan_signal" for event in report.events):
        raise RuntimeError("no worker was slowed down")
    gaps = [after - before for before, after in pairwise(report.commit_times_s)]
    return median(gaps[WARM_UP : SLOW_AT - 1]), median(gaps[SLOW_AT + SETTLED :])
