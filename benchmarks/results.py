"""Writes what was measured: ``DATE.md`` for readers, ``DATE.json`` for programs, pictures beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.checkpoints import CheckpointResult
from benchmarks.deciders import DeciderResult
from benchmarks.membership import ChangeResult
from benchmarks.page import Machine, row, write_both
from benchmarks.reduction import ReductionResult
from benchmarks.steps import StepResult
from benchmarks.stragglers import StragglerResult


class Results(msgspec.Struct):
    """One run of the benchmarks; parts that were not asked for are empty."""

    date: str
    quick: bool
    machine: Machine
    steps: list[StepResult] = []
    changes: list[ChangeResult] = []
    checkpoints: list[CheckpointResult] = []
    reduction: ReductionResult | None = None
    deciders: list[DeciderResult] = []
    stragglers: list[StragglerResult] = []


def markdown(results: Results) -> str:
    """All tables."""
    machine = results.machine
    parts = [
        f"# Measured on {results.date}" + (" (a short look: few rounds)" if results.quick else ""),
        f"{machine.processor}, {machine.cores} cores, {machine.system}; Python {machine.python}, "
        f"torch {machine.torch}; one intra-op thread for each worker. Medians, quartiles in brackets.",
    ]
    if results.steps:
        parts += ["## Failure-free steps, against DistributedDataParallel on Gloo", steps_table(results.steps)]
        parts += ["## Peak memory of a worker, beyond the model", memory_table(results.steps)]
    if results.changes:
        parts += ["## What changes cost (milliseconds)", changes_table(results.changes)]
    if results.checkpoints:
        parts += ["## Steps while checkpoints are written, against without", checkpoints_table(results.checkpoints)]
    if results.reduction is not None:
        parts += ["## The cost of the reduction", *reduction_tables(results.reduction)]
    if results.stragglers:
        parts += ["## One worker 3 times slower", stragglers_table(results.stragglers)]
    if results.deciders:
        parts += ["## Deciders with 1,000 members (milliseconds of processor time)", deciders_table(results.deciders)]
    return "\n\n".join(parts) + "\n"


def steps_table(results: Sequence[StepResult]) -> str:
    """One line for each comparison."""
    lines = [
        row("model", "workers", "shards each", "a shard", "DDP", "Pliant ms", "DDP ms", "ratio"),
        row(*["---"] * 8),
    ]
    lines += [
        row(
            r.model,
            r.workers,
            r.shards_each,
            r.per_shard,
            r.mode,
            r.pliant_s.text(scale=1e3, digits=1),
            r.ddp_s.text(scale=1e3, digits=1),
            r.ratio.text(digits=3),
        )
        for r in results
    ]
    return "\n".join(lines)


def memory_table(results: Sequence[StepResult]) -> str:
    """One line for each comparison; gradients, optimizer state and activations are in both."""
    lines = [row("model", "workers", "shards each", "DDP", "Pliant MB", "DDP MB", "more"), row(*["---"] * 7)]
    for r in results:
        ours, theirs = r.pliant_peak_bytes / 1e6, r.ddp_peak_bytes / 1e6
        lines.append(
            row(r.model, r.workers, r.shards_each, r.mode, f"{ours:.0f}", f"{theirs:.0f}", f"{ours - theirs:+.0f}")
        )
    return "\n".join(lines)


def changes_table(results: Sequence[ChangeResult]) -> str:
    """One line for each kind of event."""
    lines = [row("event", "stall", "aim", "step", "command to joined", "MB moved", "runs"), row(*["---"] * 7)]
    for r in results:
        joined = "" if r.command_to_joined_s is None else r.command_to_joined_s.text(scale=1e3, digits=0)
        stall, aim, step = (value.text(scale=1e3, digits=0) for value in (r.stall_s, r.aim_s, r.step_s))
        lines.append(row(r.what, stall, aim, step, joined, f"{r.bytes_moved.median / 1e6:.0f}", r.stall_s.count))
    return "\n".join(lines)


def checkpoints_table(results: Sequence[CheckpointResult]) -> str:
    """One line for each comparison; times are means over a turn."""
    lines = [
        row("model", "workers", "one each", "MB", "with, ms", "without, ms", "ratio (aim 1.035)"),
        row(*["---"] * 7),
    ]
    lines += [
        row(
            r.model,
            r.workers,
            f"{r.every} steps",
            f"{r.checkpoint_bytes / 1e6:.0f}",
            r.with_s.text(scale=1e3, digits=1),
            r.without_s.text(scale=1e3, digits=1),
            r.ratio.text(digits=3),
        )
        for r in results
    ]
    return "\n".join(lines)


def stragglers_table(results: Sequence[StragglerResult]) -> str:
    """One line for each number of workers and way of dealing."""
    lines = [row("workers", "dealt", "step ms", "with a slow worker", "ratio", "least possible"), row(*["---"] * 6)]
    lines += [
        row(
            r.workers,
            "by speed" if r.deal == "speed" else "evenly",
            r.step_s.text(scale=1e3, digits=1),
            r.slow_step_s.text(scale=1e3, digits=1),
            r.ratio.text(),
            f"{r.ideal:.2f}",
        )
        for r in results
    ]
    return "\n".join(lines)


def deciders_table(results: Sequence[DeciderResult]) -> str:
    """One line for each kind of change."""
    lines = [row("part", "change", "processor time", "runs"), row(*["---"] * 4)]
    lines += [row(r.part, r.what, r.cpu_s.text(scale=1e3, digits=1), r.cpu_s.count) for r in results]
    return "\n".join(lines)


def reduction_tables(result: ReductionResult) -> list[str]:
    """The check here, and the forms on the assumed network."""
    link, net = result.link, result.network
    fitted = (
        f"Fitted to the direct exchange at 2 and 3 workers on this machine: {link.alpha_s * 1e6:.0f} us latency, "
        f"{link.overhead_s * 1e6:.1f} us a message, {1e-9 / link.beta_s if link.beta_s else 0:.2f} GB/s."
    )
    check = [row("workers", "gradient bytes", "measured ms", "model ms", "model / measured"), row(*["---"] * 5)]
    check += [
        row(
            f"{point.workers}{'' if point.fitted else ' (not fitted)'}",
            point.gradient_bytes,
            f"{point.measured_s * 1e3:.2f}",
            f"{point.model_s * 1e3:.2f}",
            f"{point.model_s / point.measured_s:.2f}",
        )
        for point in result.checked
    ]
    assumed = (
        f"43 MB in {result.buckets} buckets on an assumed network ({net.alpha_s * 1e6:.0f} us latency, "
        f"{net.overhead_s * 1e6:.0f} us a message, {1e-9 / net.beta_s:.1f} GB/s), per worker. "
        f"The direct exchange costs over 5 % more than halving from {result.crossover_workers} workers on "
        f"(a gradient of 1 MB in one bucket: from {result.crossover_small})."
    )
    forms = [row("workers", "form", "messages", "MB sent", "ms"), row(*["---"] * 5)]
    forms += [
        row(c.workers, c.form, f"{c.messages:,}", f"{c.size_bytes / 1e6:.1f}", f"{c.seconds * 1e3:.2f}")
        for c in result.costs
    ]
    return [fitted, "\n".join(check), assumed, "\n".join(forms)]


def write(results: Results, directory: Path) -> Path:
    """Both files; returns the readable one."""
    return write_both(results, markdown(results), directory / (results.date + ("-quick" if results.quick else "")))
