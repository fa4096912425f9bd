"""What issue 5 asks for, and whether this run has it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.page import row
from benchmarks.servers.accounts import SLOTS, DenseResult, ServerChange, TableResult
from benchmarks.servers.straggler_accounts import ASYNCHRONOUS, MODES, SYNCHRONOUS, StragglerRun, ahead
from benchmarks.spread import Spread, spread

STALL_S = 0.1
SHARE_OF_STATE = 0.9
"""So much of the optimizer's state has to be gone from a worker, noise left aside."""
STATE_BYTES = 8
"""Of AdamW, for each parameter."""
COPIES = 2
"""Of the jobs whose servers are killed and added."""
UNEVEN = 1.01
"""Slots are of nearly, but not quite, the same size."""
OVER_RPC, BEHIND_BAG = 10.0, 3.0
BAG = "EmbeddingBag"
"""The system that keeps its table in the training process."""
Verdict = tuple[str, str, bool]


def table(*verdicts: Sequence[Verdict]) -> str:
    """A row for each of them."""
    lines = [row("aim", "measured", "met"), row(*["---"] * 3)]
    for aim, measured, met in [verdict for several in verdicts for verdict in several]:
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
            lines.append(
                f"* {result.model}, {result.batch}, {_workers(result.workers)}, {result.label}: {', '.join(told)}"
            )
    return "\n".join(lines) or "Nowhere in this run."


def _workers(count: int) -> str:
    return f"{count} worker" if count == 1 else f"{count} workers"


def of_strategies(dense: Sequence[DenseResult]) -> list[Verdict]:
    """Bits and memory."""
    return [*_exact(dense), *_memory(dense)]


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


def of_changes(changes: Sequence[ServerChange]) -> list[Verdict]:
    """Stalls, and what a newcomer is sent."""
    found: list[Verdict] = []
    for model, what, servers in dict.fromkeys((change.model, change.what, change.servers) for change in changes):
        same = [change for change in changes if (change.model, change.what, change.servers) == (model, what, servers)]
        text = f"SIGKILL of one of {servers} servers" if what == "kill" else f"one server more than {servers}"
        stall, calm = over(same, lambda change: change.stall_s), over(same, lambda change: change.calm_s)
        told = f"{stall.text()} s; as long a time without it: {calm.text()} s"
        found.append((f"{model}: {text}: workers stall at most {STALL_S:g} s", told, stall.median <= STALL_S))
        if what == "add":
            found.append(_moved(f"{model}: {text}", same, servers))
    return found


def _moved(text: str, same: Sequence[ServerChange], servers: int) -> Verdict:
    """Both slots, which are whole, and bytes; the most that any of the newcomers got."""
    bound, whole = -(-COPIES * SLOTS // (servers + 1)), COPIES * SLOTS
    slots, share = max(change.slot_copies for change in same), max(moved_share(change) for change in same)
    aim = f"{text}: it is sent 1/{servers + 1} of all ({bound} of {whole} slot copies, {1 / (servers + 1):.1%})"
    met = 0 < slots <= bound and 0 < share <= UNEVEN * bound / whole
    return aim, f"at most {slots} slot copies, {share:.1%} of all bytes", met


def moved_share(change: ServerChange) -> float:
    """Bytes that were sent, of those of all copies."""
    return change.bytes_moved / (COPIES * change.state_bytes)


def of_stragglers(runs: Sequence[StragglerRun]) -> list[Verdict]:
    """Each sample once, and more of them than synchronously."""
    found: list[Verdict] = []
    if runs:
        right = sum(run.samples == run.expected for run in runs)
        told = f"in {right} of {len(runs)} runs"
        found.append(("one slow worker: each sample of each step counts once", told, right == len(runs)))
    for mode in ASYNCHRONOUS:
        ratios = [(MODES[other].text, ratio) for other in SYNCHRONOUS if (ratio := ahead(runs, mode, other))]
        if ratios:
            told = ", ".join(f"{ratio.text()} times {other}" for other, ratio in ratios)
            aim = f"one slow worker: {MODES[mode].text} trains on more samples a second than synchronous training"
            found.append((aim, told, all(ratio.median > 1 for _, ratio in ratios)))
    return found


def of_tables(tables: Sequence[TableResult]) -> list[Verdict]:
    """Rates beside the other ways to keep a table."""
    found: list[Verdict] = []
    for result in tables:
        if not result.ahead:
            continue
        in_process = result.system == BAG
        least, text = (1 / BEHIND_BAG, f"within {BEHIND_BAG:g}") if in_process else (OVER_RPC, f"at least {OVER_RPC:g}")
        told = ", ".join(f"{ratio.text()} times its rate with {name}" for name, ratio in result.ahead.items())
        met = all(ratio.median >= least for ratio in result.ahead.values())
        found.append((f"tables: {text} times {result.what}", told, met))
    return found


def over(changes: Sequence[ServerChange], value: Callable[[ServerChange], float]) -> Spread:
    """Of all of them, at least one."""
    return spread([value(change) for change in changes])
