"""For which models and how many workers a step with parameter servers is as fast as all-reduce. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from benchmarks.page import row
from benchmarks.servers.accounts import DenseResult

AS_FAST = 1.05
"""A ratio up to this counts as equal."""
WORKERS, SERVERS, COPIES = 2, 2, 2
"""Where models and batches are compared."""


def points(dense: Sequence[DenseResult]) -> list[DenseResult]:
    """Two workers, two servers, two copies: each model with each batch, by parameters and computing."""
    chosen = [r for r in dense if r.over_workers and (r.workers, r.servers, r.copies) == (WORKERS, SERVERS, COPIES)]
    return sorted(chosen, key=lambda result: (result.parameters, result.model, result.samples))


def computing_table(dense: Sequence[DenseResult]) -> str:
    """A line for each model and batch."""
    heads = (
        "model",
        "parameters",
        "rows or tokens a step",
        "gigaflop",
        "all-reduce ms",
        "servers ms",
        "over all-reduce",
    )
    lines = [row(*heads, "as fast"), row(*["---"] * (len(heads) + 1))]
    for r in points(dense):
        plain = next(
            (o.step_s for o in dense if not o.servers and (o.group, o.model, o.batch, o.workers) == _place(r)), None
        )
        times = ["" if step_s is None else step_s.text(scale=1e3, digits=1) for step_s in (plain, r.step_s)]
        sizes = (f"{r.parameters / 1e6:.1f} million", f"{r.samples:,}", f"{r.gigaflop:,.1f}")
        ratio = "" if r.over_workers is None else r.over_workers.text()
        lines.append(row(r.model, *sizes, *times, ratio, "yes" if as_fast(r) else "no"))
    return "\n".join(lines)


def by_computing(dense: Sequence[DenseResult]) -> str:
    """From how much computing on, for each model."""
    lines = []
    for model, found in groupby(points(dense), key=lambda result: result.model):
        line = list(found)
        sizes = f"{model} ({line[0].parameters / 1e6:.1f} million parameters)"
        lines.append(f"* {sizes}: {_told(line, [f'{r.samples:,}' for r in line], 'rows or tokens a step')}")
    return "\n".join(lines)


def by_workers(dense: Sequence[DenseResult]) -> str:
    """From how many workers on, for each model and number of servers, at the same batch for each worker."""
    lines = []
    chosen = [r for r in dense if r.group in {"strategies", "workers"} and r.over_workers]
    crowds = {result.model for result in chosen if result.group == "workers"}
    for model, label in dict.fromkeys((result.model, result.label) for result in chosen if result.model in crowds):
        line = sorted((r for r in chosen if (r.model, r.label) == (model, label)), key=lambda result: result.workers)
        lines.append(f"* {model}, {label}: {_told(line, [str(r.workers) for r in line], 'workers')}")
    return "\n".join(lines)


def as_fast(result: DenseResult) -> bool:
    """Whether its step takes no longer than all-reduce's on as many workers."""
    return result.over_workers is not None and result.over_workers.median <= AS_FAST


def _told(line: Sequence[DenseResult], names: Sequence[str], unit: str) -> str:
    """Where it is as fast, where it is not, and by how much."""
    slower = [
        f"{r.over_workers.median:.2f} times at {name}"
        for r, name in zip(line, names, strict=True)
        if r.over_workers is not None and not as_fast(r)
    ]
    equal = [name for r, name in zip(line, names, strict=True) if as_fast(r)]
    where = f"as fast as all-reduce, or faster, at {', '.join(equal)} {unit}" if equal else "nowhere as fast"
    return where + (f"; slower: {', '.join(slower)}" + ("" if equal else f" {unit}") if slower else "")


def _place(result: DenseResult) -> tuple[str, str, str, int]:
    return result.group, result.model, result.batch, result.workers
