"""The tables of the page. Pure: runs in, Markdown out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.page import row
from benchmarks.serving.accounts import (
    BARE,
    BurstRun,
    KillRun,
    MemoryRun,
    Turn,
    over,
    ratios,
    turns_of,
    weights_bytes,
)
from benchmarks.serving.scenarios import BURST_CLIENTS, HANG_S, KILL_CLIENTS, REPLACED_LIMIT_S
from benchmarks.serving.shapes import LARGE, ROWS, SMALL
from benchmarks.spread import spread

MIB = float(1 << 20)


def columns(turns: Sequence[Turn]) -> list[tuple[str, bool]]:
    """(system, batched), in the order in which they came."""
    return list(dict.fromkeys((turn.system, turn.batched) for turn in turns))


def label(system: str, batched: bool) -> str:
    """Of one column."""
    return f"{system}, batched" if batched else system


def line(first: Sequence[object], cells: Sequence[object]) -> str:
    """One row."""
    return row(*first, *cells)


def throughput(turns: Sequence[Turn]) -> list[str]:
    """A table for each model: answers a second, latencies, and the ratio to the bare process."""
    parts = ["Requests a second (ratio to the bare process of the same round); below it p50 / p99 in milliseconds."]
    for model in dict.fromkeys(turn.model for turn in turns):
        parts += [f"### {model}: {ROWS[model].telling}", _grid(turns, model, _rate_cell)]
    return parts


def cpu(turns: Sequence[Turn]) -> list[str]:
    """Milliseconds a request, and the ratio to the bare process."""
    parts = ["Milliseconds of all processes of the server together (ratio to the bare process of the same round)."]
    for model in dict.fromkeys(turn.model for turn in turns):
        parts += [f"### {model}", _grid(turns, model, _cpu_cell)]
    return parts


def _grid(turns: Sequence[Turn], model: str, cell: Callable[[Sequence[Turn], list[Turn]], str]) -> str:
    """A row for each system, a column for each number of concurrent requests."""
    mine = [turn for turn in turns if turn.model == model]
    numbers = sorted({turn.connections for turn in mine})
    lines = [row("system", *(f"{number} at a time" for number in numbers)), row(*["---"] * (len(numbers) + 1))]
    for system, batched in columns(mine):
        cells = []
        for number in numbers:
            found = turns_of(turns, system, model, number, batched=batched)
            wrong = [turn.problem for turn in mine if (turn.system, turn.connections) == (system, number)]
            cells.append(cell(turns, found) if found else f"none: {wrong[0] if wrong else 'not measured'}")
        lines.append(row(label(system, batched), *cells))
    return "\n".join(lines)


def _rate_cell(turns: Sequence[Turn], found: list[Turn]) -> str:
    ratio = ratios(turns, found, lambda turn: turn.rate)
    rate = spread([turn.rate for turn in found]).text(digits=0)
    share = f", **{spread(ratio).median:.2f}**" if ratio and found[0].system != BARE else ""
    latencies = [spread([value(turn) for turn in found]).median * 1e3 for value in (_p50, _p99)]
    return f"{rate}{share}<br>{latencies[0]:.1f} / {latencies[1]:.1f}"


def _cpu_cell(turns: Sequence[Turn], found: list[Turn]) -> str:
    ratio = ratios(turns, found, lambda turn: turn.cpu_per_request_s)
    cost = spread([turn.cpu_per_request_s for turn in found]).text(scale=1e3, digits=2)
    return cost + (f", **{spread(ratio).median:.2f}**" if ratio and found[0].system != BARE else "")


def _p50(turn: Turn) -> float:
    return turn.p50_s


def _p99(turn: Turn) -> float:
    return turn.p99_s


def failures(turns: Sequence[Turn]) -> str:
    """Of the turns of load, by kind."""
    lines = []
    for system, batched in columns(turns):
        kinds: dict[str, int] = {}
        for turn in turns:
            if (turn.system, turn.batched) == (system, batched):
                kinds = {kind: kinds.get(kind, 0) + turn.failures.get(kind, 0) for kind in kinds | turn.failures}
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        lines += [f"* {label(system, batched)}: {told}"] if told else []
    return "\n".join(lines) or "None, of any system."


WHAT = {
    "burst": f"one idle replica, {BURST_CLIENTS} requests at once: second replica's first answer",
    "zero": "no replica, one request: its answer",
    "start": "the command to serve: first 200",
}


def bursts(runs: Sequence[BurstRun]) -> list[str]:
    """Seconds, a row for each system."""
    whats = [what for what in WHAT if any(run.what == what for run in runs)]
    lines = [row("system", *(f"{WHAT[what]}, s" for what in whats)), row(*["---"] * (len(whats) + 1))]
    for system in dict.fromkeys(run.system for run in runs):
        cells = []
        for what in whats:
            mine = [run for run in runs if (run.system, run.what) == (system, what)]
            found = over(mine, lambda run: run.seconds)
            failed = sum(run.failed for run in mine)
            text = "" if found is None else found.text() + (f", {failed} requests failed" if failed else "")
            problems = [run.problem for run in mine if run.problem]
            cells.append(text + (f" ({len(problems)} of {len(mine)}: {problems[0]})" if problems else ""))
        lines.append(row(system, *cells))
    model = ROWS["slow"].telling
    return [
        "\n".join(lines),
        f"The burst is for {model} (about 15 ms a request here), up to four replicas, one request at a time in each; "
        "the others are for the MLP. `import torch` is a process that does nothing else.",
    ]


def kills(runs: Sequence[KillRun]) -> list[str]:
    """A row for each system."""
    names = ["system", "kills", "failed, a kill", "hung, a kill", "replacement answers after, s"]
    names += ["no replacement", "the whole server went down", "kinds"]
    lines = [row(*names), row(*["---"] * len(names))]
    for system in dict.fromkeys(run.system for run in runs):
        mine = [run for run in runs if run.system == system and not run.problem]
        problems = [run.problem for run in runs if run.system == system and run.problem]
        failed, hung = over(mine, lambda run: run.failed), over(mine, lambda run: run.hung)
        replaced = over(mine, lambda run: run.replaced_s)
        kinds = sorted({kind for run in mine for kind in run.kinds})
        lines.append(
            row(
                system,
                str(len(mine)) + (f" ({len(problems)} more: {problems[0]})" if problems else ""),
                "" if failed is None else f"{failed.text(digits=0)}, most {max(run.failed for run in mine)}",
                "" if hung is None else f"{hung.text(digits=0)}, most {max(run.hung for run in mine)}",
                "" if replaced is None else replaced.text(),
                sum(run.replaced_s is None for run in mine),
                sum(run.went_down for run in mine),
                ", ".join(kinds),
            )
        )
    return [
        "\n".join(lines),
        f"{KILL_CLIENTS} clients, four of them with a new connection for each request; the demo's GPT, batches of at "
        "most 8. Failed: answered with an error, or cut; once a whole server has gone, refused tries are not counted. "
        f"Hung: no answer for {HANG_S:.0f} s. A replacement is waited for for {REPLACED_LIMIT_S:.0f} s.",
    ]


def memory(runs: Sequence[MemoryRun]) -> list[str]:
    """PSS of all processes, and what the large model's weights are of it."""
    counts = sorted({run.replicas for run in runs})
    names = ["system", *(f"{model}, {count}" for model in (SMALL, LARGE) for count in counts)]
    names += [f"weights of {LARGE}, {count}" for count in counts]
    lines = [row(*names), row(*["---"] * len(names))]
    for system in dict.fromkeys(run.system for run in runs):
        cells = []
        for model in (SMALL, LARGE):
            for count in counts:
                mine = [r for r in runs if (r.system, r.model, r.replicas) == (system, model, count)]
                cells.append((mine[0].problem or f"{mine[0].pss_bytes / MIB:.0f}") if mine else "")
        for count in counts:
            found = weights_bytes(runs, system, count, large=LARGE, small=SMALL)
            cells.append("" if found is None else f"{found / MIB:.0f}")
        lines.append(row(system, *cells))
    return [
        f"MiB (PSS) of all processes of the idle server, by model and number of replicas: {SMALL} is the "
        f"{ROWS[SMALL].telling}, {LARGE} the {ROWS[LARGE].telling}. The last columns are the difference: what the "
        "weights take, so what one copy of them shared by all replicas keeps constant.",
        "\n".join(lines),
    ]


def client(trivial: Sequence[Turn], turns: Sequence[Turn]) -> str:
    """What the client can do at all, and how busy it was."""
    able = ", ".join(f"{turn.rate:.0f}/s with {turn.connections} connections" for turn in trivial)
    busiest = max(turns, key=lambda turn: turn.client_share, default=None)
    told = (
        ""
        if busiest is None
        else (
            f" In the measurements it was busy for {busiest.client_share:.0%} of a window at most ({busiest.system}, "
            f"{busiest.model}, {busiest.connections} at a time)."
        )
    )
    return f"Against a server that does next to nothing the client makes {able}.{told}"
