"""Writes what was measured: ``DATE-servers.md`` for readers, ``DATE-servers.json`` for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.page import Machine, row
from benchmarks.servers import aims
from benchmarks.servers.accounts import DenseResult, Footprint, ServerChange, TableResult

WHY = (
    "Why: in a step of all-reduce each of n workers sends (n - 1) / n of the gradients, and takes as much. With "
    "servers each worker sends its whole sums and takes all parameters, which is twice as much for two workers; "
    "each second copy of a slot is sent the mean gradient, and computes the update once more. In return the update "
    "is computed once for each copy, and not once on each worker. So on few workers that share a machine, as here, "
    "servers cost more than they save: all that is moved is moved by the processors that compute. They gain with "
    "each further worker, with optimizers that compute or keep much, and with processors of their own. The "
    "optimizer's state is gone from the workers, but not all of its memory: a worker keeps a buffer of the "
    "parameters that it receives (4 bytes a parameter), and what the transport has received, and freed, is not "
    "given back to the system."
)
HOW = (
    "All strategies of a comparison are jobs of `pliant run` that are alive at once and train in turns, every other "
    "round in the opposite order (benchmarks/turns.py); a ratio is that of the median steps of one round. AdamW, "
    "four shards for each worker (eight where 2 and 4 workers are compared), dealt evenly; one intra-op thread for "
    "each process; the learning rate is so low that nothing is learnt, because gradients near zero slow processors "
    "down. mlp: 1 million parameters, wide: an MLP of 10 million, gpt: the GPT of examples/char_gpt.py with 10.7 "
    "million. Memory is read while all jobs stand still after their last turn: PSS counts a process's private pages "
    "and its part of the shared ones; RSS, and peak, which is of RSS, count shared ones (torch's libraries) fully. "
    "Servers are killed with SIGKILL in a job of 2 workers and 2 servers with 2 copies; then it is asked for a "
    "third one, and for two again. A stall is the longest gap between two commits around the event less the median "
    "one before it, as in the job's report; the same measure over as many steps right before the event tells how "
    "much of it is this machine's noise. All state: of both copies, parameters, AdamW's two moments and the "
    "gradient of the pass in hand. Tables: one worker; 65,536 ids a batch, in bags of 8, the k-th id in proportion "
    "to 1 / (k + 1), Adagrad; all rows of Pliant's and torch's tables are there before it is measured, the dict has "
    "those that the batches look up."
)


class ServersResults(msgspec.Struct):
    """One run; parts that were not asked for are empty. ``problems``: parts that could not be measured, and why."""

    date: str
    quick: bool
    machine: Machine
    notes: list[str] = []
    """What has to be known to read this run, such as what else ran on the machine."""
    dense: list[DenseResult] = []
    changes: list[ServerChange] = []
    tables: list[TableResult] = []
    problems: dict[str, str] = {}
    took_s: float = 0.0


def markdown(results: ServersResults) -> str:
    """The whole page."""
    machine = results.machine
    parts = [
        f"# Parameter servers, {results.date}" + (" (a short look: few rounds)" if results.quick else ""),
        f"{machine.processor}, {machine.cores} cores, {machine.system}; Python {machine.python}, torch "
        f"{machine.torch}. Medians, quartiles in brackets. The run took {results.took_s / 60:.0f} minutes."
        + "".join(f" {note}" for note in results.notes),
    ]
    if results.problems:
        parts += ["## Could not be measured", "\n".join(f"* {name}: {why}" for name, why in results.problems.items())]
    parts += ["## Aims", aims.table(results.dense, results.changes, results.tables)]
    strategies = [result for result in results.dense if result.group == "strategies"]
    if strategies:
        parts += ["## Steps, against all-reduce", steps_table(strategies)]
        parts += ["## Memory of a process (MB)", memory_table(strategies)]
    crossover = [result for result in results.dense if result.group == "crossover"]
    if crossover:
        parts += ["## From how many workers on?", aims.crossover(crossover), steps_table(crossover)]
    if results.dense:
        parts += ["## Where a parameter server is slower than all-reduce", aims.behind(results.dense), WHY]
    if results.changes:
        parts += ["## Servers die and come", changes_table(results.changes)]
    if results.tables:
        parts += ["## Tables", tables_table(results.tables)]
    return "\n\n".join([*parts, "## How it was measured", HOW]) + "\n"


def steps_table(results: Sequence[DenseResult]) -> str:
    """A line for each strategy."""
    heads = ("model", "workers", "strategy", "batch", "step ms", "over all-reduce, same workers", "same processes")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for r in results:
        ratios = ["" if over is None else over.text() for over in (r.over_workers, r.over_processes)]
        lines.append(row(r.model, r.workers, r.label, r.batch, r.step_s.text(scale=1e3, digits=1), *ratios))
    return "\n".join(lines)


def memory_table(results: Sequence[DenseResult]) -> str:
    """A line for each strategy."""
    heads = ("model", "workers", "strategy", "worker: PSS / RSS / peak", "server: PSS / RSS / peak")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for r in results:
        lines.append(row(r.model, r.workers, r.label, _sizes(r.worker), "" if r.server is None else _sizes(r.server)))
    return "\n".join(lines)


def _sizes(found: Footprint) -> str:
    return " / ".join(f"{size / 1e6:.0f}" for size in (found.pss_bytes, found.rss_bytes, found.peak_bytes))


def changes_table(changes: Sequence[ServerChange]) -> str:
    """A line for each kind of event."""
    heads = ("model", "event", "count", "step ms", "stall ms", "without event ms", "all held again s", "MB sent")
    lines = [row(*heads, "slot copies", "of all state"), row(*["---"] * (len(heads) + 2))]
    for model, what in dict.fromkeys((change.model, change.what) for change in changes):
        same = [change for change in changes if (change.model, change.what) == (model, what)]
        step, stall, calm, seconds, size, share = (
            aims.over(same, value)
            for value in (
                lambda change: change.step_s,
                lambda change: change.stall_s,
                lambda change: change.calm_s,
                lambda change: change.seconds,
                lambda change: change.bytes_moved,
                lambda change: change.bytes_moved / (aims.COPIES * change.state_bytes),
            )
        )
        text = "SIGKILL, one of 2" if what == "kill" else "2 to 3"
        cells = [found.text(scale=1e3, digits=1) for found in (step, stall, calm)]
        slots = f"{max(change.slot_copies for change in same)}" if what == "add" else ""
        cells += [seconds.text(), size.text(scale=1e-6, digits=1), slots, share.text()]
        lines.append(row(model, text, len(same), *cells))
    return "\n".join(lines)


def tables_table(results: Sequence[TableResult]) -> str:
    """A line for each system. Rows a second: pulled and pushed, together."""
    heads = ("system", "rows", "ids a batch", "different", "batch ms", "rows a second", "Pliant's rate over it")
    lines = [row(*heads), row(*["---"] * len(heads))]
    for r in results:
        ahead = ", ".join(f"{found.text()} with {name}" for name, found in r.ahead.items())
        cells = (f"{r.rows:,}", f"{r.ids:,}", f"{r.unique:,.0f}", r.step_s.text(scale=1e3, digits=1), f"{r.rate:,.0f}")
        lines.append(row(r.what, *cells, ahead))
    return "\n".join(lines)


def write(results: ServersResults, directory: Path) -> Path:
    """Both files; returns the readable one."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{results.date}-servers" + ("-quick" if results.quick else "")
    encoded = msgspec.json.format(msgspec.json.encode(results), indent=2)
    (directory / f"{stem}.json").write_bytes(encoded + b"\n")
    page = directory / f"{stem}.md"
    page.write_text(markdown(results), encoding="utf-8")
    return page
