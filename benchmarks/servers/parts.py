"""The parts of the comparison as tasks: each measures something, and adds it to the part's results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.servers import dense, recovery, straggler, tables
from benchmarks.servers.accounts import DenseResult
from benchmarks.servers.aims import over
from benchmarks.servers.results import PartResults


@dataclass(frozen=True)
class Task:
    """``run`` adds to the results, and says what it found."""

    text: str
    run: Callable[[PartResults], str]


def tasks(part: str, *, quick: bool) -> list[Task]:
    """All of one part, in order."""
    if part == "dense":
        return [Task(case.text, partial(_dense, case)) for case in dense.cases(quick=quick)]
    if part == "recovery":
        return [Task(f"2 to 4 servers: {d.model}", partial(_recovery, d)) for d in recovery.drills(quick=quick)]
    if part == "async":
        return [Task(trial.text, partial(_straggler, trial)) for trial in straggler.trials(quick=quick)]
    size = tables.size(quick=quick)
    return [Task(f"{size.rows:,} rows", partial(_tables, size))]


def _dense(case: dense.Case, results: PartResults) -> str:
    found = dense.measure(case)
    results.dense.extend(found)
    return "; ".join(map(_told, found))


def _told(result: DenseResult) -> str:
    ratio = "" if result.over_workers is None else f", {result.over_workers.median:.2f} times all-reduce"
    return f"{result.workers} workers, {result.label}: {result.step_s.median * 1e3:.0f} ms{ratio}"


def _recovery(drill: recovery.Drill, results: PartResults) -> str:
    changes = recovery.measure(drill)
    results.changes.extend(changes)
    kinds = {what: [change for change in changes if change.what == what] for what in ("kill", "add")}
    stalls = {what: over(same, lambda change: change.stall_s).median for what, same in kinds.items() if same}
    return "; ".join(f"{what}: stall {stall_s * 1e3:.0f} ms" for what, stall_s in stalls.items())


def _tables(size: tables.Size, results: PartResults) -> str:
    found = tables.measure(size)
    results.tables.extend(found)
    return "; ".join(f"{result.system}: {result.rate:,.0f} rows/s" for result in found)


def _straggler(trial: straggler.Trial, results: PartResults) -> str:
    run = straggler.measure(trial)
    results.stragglers.append(run)
    return f"{run.rate_before:,.0f} samples/s, then {run.rate:,.0f}; loss {run.loss:.3f}"
