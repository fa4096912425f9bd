"""(b) What joins, deaths and leaves cost: from the reports of real ``pliant run``s of the GPT with 128 MB of state."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import msgspec

from benchmarks.launch import run_plan
from benchmarks.spread import Spread, spread
from pliant.wire.api import Event, Report

SHARDS = 6
WORKLOAD = ("--model", "gpt", "--shards", str(SHARDS), "--per-shard", "1", "--context", "64", "--steps", "90")
PLAN = """
[[event]]
at_step = 15
scale = 3

[[event]]
at_step = 40
kill = 1

[[event]]
at_step = 65
leave = 1
"""
OPTIONS = ("--workers", "1:3", "--start", "2")
PRECEDING = 10


class Cost(msgspec.Struct, frozen=True):
    """One event of one run. ``aim_s``: the stall that was aimed for, in terms of this run's steps."""

    what: str
    stall_s: float
    step_s: float
    aim_s: float
    command_to_joined_s: float | None
    shards_recomputed: int
    bytes_moved: int


class ChangeResult(msgspec.Struct, frozen=True):
    """All repeats of one kind of event."""

    what: str
    stall_s: Spread
    step_s: Spread
    aim_s: Spread
    command_to_joined_s: Spread | None
    bytes_moved: Spread


def measure(*, repeats: int) -> list[ChangeResult]:
    """Run the plan ``repeats`` times.

    Raises:
        RuntimeError: A run failed, or an event of the plan did not happen.
    """
    costs = [cost for _ in range(repeats) for cost in costs_of(run_plan("changes", PLAN, OPTIONS, WORKLOAD))]
    results = []
    for what in dict.fromkeys(cost.what for cost in costs):
        same = [cost for cost in costs if cost.what == what]
        joined = [cost.command_to_joined_s for cost in same if cost.command_to_joined_s is not None]
        results.append(
            ChangeResult(
                what=what,
                stall_s=spread([cost.stall_s for cost in same]),
                step_s=spread([cost.step_s for cost in same]),
                aim_s=spread([cost.aim_s for cost in same]),
                command_to_joined_s=spread(joined) if joined else None,
                bytes_moved=spread([cost.bytes_moved for cost in same]),
            )
        )
    return results


def costs_of(report: Report) -> list[Cost]:
    """The three events of the plan as the report tells them."""
    asked = _first(report, "scale_requested")
    joined = _first(report, "workers_joined")
    lost = _first(report, "worker_lost")
    left = _first(report, "worker_left")
    survivors = max(1, (lost.workers_before or 3) - 1)
    each = -(-SHARDS // (survivors + 1))
    inherited = -(-(lost.shards_recomputed or 0) // survivors)
    return [
        _cost(report, joined, "grow 2 to 3", per_step=1.0, slack_s=0.1, joined_s=joined.time_s - asked.time_s),
        _cost(report, lost, "SIGKILL one of 3", per_step=inherited / each, slack_s=0.1),
        _cost(report, left, "planned leave, 3 to 2", per_step=0.0, slack_s=0.05),
    ]


def _cost(
    report: Report, event: Event, what: str, *, per_step: float, slack_s: float, joined_s: float | None = None
) -> Cost:
    times_s = report.commit_times_s[max(0, event.step - PRECEDING - 1) : event.step]
    step_s = median(after - before for before, after in pairwise(times_s))
    if event.stall_s is None:
        raise RuntimeError(f"the report has no stall for {event.kind} at step {event.step}")
    return Cost(
        what=what,
        stall_s=event.stall_s,
        step_s=step_s,
        aim_s=per_step * step_s + slack_s,
        command_to_joined_s=joined_s,
        shards_recomputed=event.shards_recomputed or 0,
        bytes_moved=event.bytes_moved or 0,
    )


def _first(report: Report, kind: str) -> Event:
    for event in report.events:
        if event.kind == kind:
            return event
    raise RuntimeError(f"no event {kind!r} in the report, only {[event.kind for event in report.events]}")
