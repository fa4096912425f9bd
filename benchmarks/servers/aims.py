"""What issue 5 asks for, and whether this run has it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.page import row
from benchmarks.servers.accounts import SLOTS, DenseResult, ServerChange, TableResult
from benchmarks.spread import Spread, spread

STALL_S = 0.1
SHARE_OF_STATE = 0.9
"""So much of the optimizer's state has to be gone from a worker, noise left aside."""
STATE_BYTES = 8
"""Of AdamW, for each parameter."""
COPIES, SERVERS = 2, 2
"""Of the jobs whose servers are killed and added."""
OVER_RPC, BEHIND_BAG = 10.0, 3.0
BAG = "EmbeddingBag"
"""The system that keeps its table in the training process."""
Verdict = tuple[str, str, bool]


def table(dense: Sequence[DenseResult], changes: Sequence[ServerChange], tables: Sequence[TableResult]) -> str:
    """A row for each aim that this run says something about."""
    lines = [row("aim", "measured", "met"), row(*["---"] * 3)]
    for aim, measured, met in [*_exact(dense), *_memory(dense), *_changes(changes), *_tables(tables)]:
        lines.append(row(aim, measured, "yes" if met else "**no**"))
    return "\n".join(lines)


def cells(dense: Sequence[DenseResult]) -> list[list[DenseResult]]:
    """Those of one case each, in the order in which they were measured."""
    found: dict[tuple[str, str, str], list[DenseResult]] = {}
    for result in dense:
        found.setdefault((result.group, result.model, result.batch), []).append(result)
    return list(found.values())


def behind(dense: Sequence[DenseResult]) -> str:
    """Every number of processes at which a parameter server is slower than all-reduce."""
    lines = []
    for result in dense:
        told = []
        for over, what in (
            (result.over_workers, f"all-reduce with {_workers(result.workers)}"),
            (result.over_processes, f"all-reduce with {_workers(result.workers + result.servers)}, as many processes"),
        ):
            if result.servers and over is not None and over.median > 1:
                told.append(f"{over.text()} times the step of {what}")
        if told:
            lines.append(f"* {result.model}, {_workers(result.workers)}, {result.label}: {', '.join(told)}")
    return "\n".join(lines) or "Nowhere in this run."


def crossover(dense: Sequence[DenseResult]) -> str:
    """From which number of workers on a parameter server is the faster one, for each model and number of servers."""
    lines = []
    chosen = [result for result in dense if result.group == "crossover" and result.servers]
    for model, servers in dict.fromkeys((result.model, result.servers) for result in chosen):
        line = [result for result in chosen if (result.model, result.servers) == (model, servers)]
        ahead = [result.workers for result in line if result.over_workers and result.over_workers.median < 1]
        told = f"at {', '.join(map(str, ahead))}" if ahead else f"at none of {', '.join(str(r.workers) for r in line)}"
        lines.append(f"* {model}, {line[0].label}: faster than all-reduce {told} workers")
    return "\n".join(lines)


def _workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"


def _exact(dense: Sequence[DenseResult]) -> Iterator[Verdict]:
    several = [cell for cell in cells(dense) if len(cell) > 1]
    if several:
        same = sum(len({result.sha256 for result in cell}) == 1 and cell[0].sha256 is not None for cell in several)
        told = f"in {same} of {len(several)} comparisons"
        yield "the same weights under all strategies, to the bit", told, same == len(several)


def _memory(dense: Sequence[DenseResult]) -> Iterator[Verdict]:
    for cell in cells(dense):
        plain = next((r for r in cell if not r.servers and r.workers == cell[0].workers), None)
        served = [result for result in cell if result.servers and result.workers == cell[0].workers]
        if plain is None or not served or plain.group != "strategies":
            continue
        state_bytes = plain.parameters * STATE_BYTES
        less = [(r.label, plain.worker.pss_bytes - r.worker.pss_bytes) for r in served]
        told = ", ".join(f"{-size / 1e6:+.0f} MB with {label}" for label, size in less)
        aim = f"{plain.model}: optimizer state ({state_bytes / 1e6:.0f} MB) gone from a worker"
        yield aim, told, all(size >= SHARE_OF_STATE * state_bytes for _, size in less)


def _changes(changes: Sequence[ServerChange]) -> Iterator[Verdict]:
    bound = -(-COPIES * SLOTS // (SERVERS + 1))
    for model in dict.fromkeys(change.model for change in changes):
        for what, text in (("kill", "SIGKILL of one of two servers"), ("add", "a third server comes")):
            same = [change for change in changes if (change.model, change.what) == (model, what)]
            if same:
                stall, calm = over(same, lambda change: change.stall_s), over(same, lambda change: change.calm_s)
                told = f"{stall.text()} s; as long a time without it: {calm.text()} s"
                yield f"{model}: {text}: workers stall at most {STALL_S:g} s", told, stall.median <= STALL_S
        added = [change.slot_copies for change in changes if (change.model, change.what) == (model, "add")]
        if added:
            aim = f"{model}: a third server is sent 1/{SERVERS + 1} of the slot copies ({bound} of {COPIES * SLOTS})"
            yield aim, f"at most {max(added)}", 0 < max(added) <= bound


def _tables(tables: Sequence[TableResult]) -> Iterator[Verdict]:
    for result in tables:
        if not result.ahead:
            continue
        in_process = result.system == BAG
        least, text = (1 / BEHIND_BAG, f"within {BEHIND_BAG:g}") if in_process else (OVER_RPC, f"at least {OVER_RPC:g}")
        told = ", ".join(f"{ahead.text()} times its rate with {name}" for name, ahead in result.ahead.items())
        met = all(ahead.median >= least for ahead in result.ahead.values())
        yield f"tables: {text} times {result.what}", told, met


def over(changes: Sequence[ServerChange], value: Callable[[ServerChange], float]) -> Spread:
    """Of all of them, at least one."""
    return spread([value(change) for change in changes])
