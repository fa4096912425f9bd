"""What issue 4 asks for, and whether this run has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.page import row
from benchmarks.serving.accounts import BurstRun, KillRun, MemoryRun, Turn, over, ratios, turns_of, weights_bytes
from benchmarks.serving.shapes import LARGE, ROWS, SMALL

OURS = "pliant"
FRAMEWORKS = ("litserve", "ray")
EXACT = "pliant-exact"
CPU_RATIO, BURST_S, START_S, SHARE, EXACT_RATIO = 2.0, 0.3, 0.5, 1.1, 1.6


def table(
    turns: Sequence[Turn], bursts: Sequence[BurstRun], kills: Sequence[KillRun], memory: Sequence[MemoryRun]
) -> str:
    """A row for each aim that this run says something about."""
    lines = [row("aim", "measured", "met"), row(*["---"] * 3)]
    for aim, measured, met in [*_throughput(turns), *_exact(turns), *_bursts(bursts), *_kills(kills), *_memory(memory)]:
        lines.append(row(aim, measured, "yes" if met else "**no**"))
    return "\n".join(lines)


Verdict = tuple[str, str, bool]


def best(turns: Sequence[Turn], system: str, model: str, connections: int) -> tuple[float, float, float] | None:
    """Rate, p99 and processor time over the bare process's, of its faster way, with or without batching."""
    found = []
    for batched in (False, True):
        cell = turns_of(turns, system, model, connections, batched=batched)
        if cell:
            over_bare = ratios(turns, cell, lambda turn: turn.cpu_per_request_s)
            rate, p99_s = median(turn.rate for turn in cell), median(turn.p99_s for turn in cell)
            found.append((rate, p99_s, median(over_bare) if over_bare else 0.0))
    return max(found) if found else None


def behind(turns: Sequence[Turn]) -> str:
    """Every cell in which another system, the bare process included, beats ours, each with its faster way."""
    lines = []
    names = [name for name in dict.fromkeys(turn.system for turn in turns) if name not in (OURS, EXACT)]
    for model, number in sorted({(turn.model, turn.connections) for turn in turns}):
        ours = best(turns, OURS, model, number)
        if ours is None:
            continue
        for name in names:
            if (theirs := best(turns, name, model, number)) is None:
                continue
            told = [f"{theirs[0] / ours[0]:.2f} times the requests"] if theirs[0] > ours[0] else []
            told += [f"p99 {theirs[1] / ours[1]:.2f} times ours"] if theirs[1] < ours[1] else []
            told += [f"processor time {theirs[2] / ours[2]:.2f} times ours"] if 0 < theirs[2] < ours[2] else []
            lines += [f"* {model}, {number} at a time, {name}: {', '.join(told)}"] if told else []
    return "\n".join(lines) or "Nowhere in this run."


def _throughput(turns: Sequence[Turn]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for model in dict.fromkeys(turn.model for turn in turns):
        rates, tails, costs = [], [], []
        for number in sorted({turn.connections for turn in turns if turn.model == model}):
            ours = best(turns, OURS, model, number)
            theirs = [each for name in FRAMEWORKS if (each := best(turns, name, model, number)) is not None]
            if ours is None:
                continue
            costs.append((number, ours[2]))
            if theirs:
                rates.append((number, ours[0] / max(each[0] for each in theirs)))
                tails.append((number, ours[1] / max(theirs)[1]))
        if rates:
            verdicts.append(_judge(f"{model}: throughput over the better framework's: above 1", rates, least=1.0))
            verdicts.append(_judge(f"{model}: p99 over that framework's: at most 1", tails, most=1.0))
        if costs:
            aim = f"{model}: processor time of a request over the bare process's: at most {CPU_RATIO:g}"
            verdicts.append(_judge(aim, costs, most=CPU_RATIO))
    return verdicts


def _exact(turns: Sequence[Turn]) -> list[Verdict]:
    """What ``--exact`` costs where there are requests to fill its batches with."""
    verdicts = []
    for model in dict.fromkeys(turn.model for turn in turns):
        costs = []
        for number in sorted({turn.connections for turn in turns if turn.model == model and turn.connections > 1}):
            padded, plain = (
                [turn.cpu_per_request_s for turn in turns_of(turns, name, model, number, batched=True)]
                for name in (EXACT, OURS)
            )
            if padded and plain:
                costs.append((number, median(padded) / median(plain)))
        if costs:
            aim = f"{model}: processor time of a request with --exact over without: at most {EXACT_RATIO:g}"
            verdicts.append(_judge(aim, costs, most=EXACT_RATIO))
    return verdicts


def _judge(aim: str, found: list[tuple[int, float]], *, least: float = 0.0, most: float = float("inf")) -> Verdict:
    told = ", ".join(f"{value:.2f} at {number}" for number, value in found)
    return aim, told, all(least <= value <= most for _, value in found)


def _bursts(runs: Sequence[BurstRun]) -> list[Verdict]:
    verdicts = []
    for what, aim in (("burst", "second replica's first answer in a burst"), ("zero", "from zero to the first answer")):
        found = over([run for run in runs if (run.what, run.system) == (what, OURS)], lambda run: run.seconds)
        if found is not None:
            verdicts.append((f"{aim}: under {BURST_S:g} s", f"{found.text()} s", found.median < BURST_S))
    ours, torch = (
        over([run for run in runs if (run.what, run.system) == ("start", name)], lambda run: run.seconds)
        for name in (OURS, "import torch")
    )
    if ours is not None and torch is not None:
        more_s = ours.median - torch.median
        told = f"{ours.text()} s, `import torch` {torch.text()} s: {more_s:.2f} s more"
        verdicts.append(
            (f"from the command to the first 200: within {START_S:g} s of `import torch`", told, more_s <= START_S)
        )
    return verdicts


def _kills(runs: Sequence[KillRun]) -> list[Verdict]:
    ours = [run for run in runs if run.system == OURS and not run.problem]
    if not ours:
        return []
    failed, hung = sum(run.failed for run in ours), sum(run.hung for run in ours)
    replaced = over(ours, lambda run: run.replaced_s)
    told = f"{failed} failed, {hung} hung in {len(ours)} kills"
    all_replaced = replaced is not None and all(run.replaced_s is not None for run in ours)
    return [
        ("SIGKILL of one of two replicas: no request fails or hangs", told, failed == hung == 0),
        (
            f"the replacement answers within {BURST_S:g} s",
            "none came" if replaced is None else f"{replaced.text()} s",
            all_replaced and replaced is not None and replaced.median <= BURST_S,
        ),
    ]


def _memory(runs: Sequence[MemoryRun]) -> list[Verdict]:
    counts = sorted({run.replicas for run in runs if run.system == OURS})
    one_copy = ROWS[LARGE].weights_bytes - ROWS[SMALL].weights_bytes
    found = [
        (count, taken / one_copy)
        for count in counts
        if (taken := weights_bytes(runs, OURS, count, large=LARGE, small=SMALL)) is not None
    ]
    if not found:
        return []
    aim = f"weights of N replicas ({ROWS[LARGE].telling}): at most {SHARE:g} times one copy"
    told = ", ".join(f"{value:.2f} times with {count}" for count, value in found)
    return [(aim, told, all(value <= SHARE for _, value in found))]
