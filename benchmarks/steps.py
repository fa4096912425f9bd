"""(a) Failure-free step time, and (c) peak memory, against DistributedDataParallel: both alive, training in turns."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.launch import PATIENCE_S, end, finish, pliant_home, start_ddp, start_pliant
from benchmarks.memory import read_peaks
from benchmarks.spread import Spread, spread
from benchmarks.turns import PATIENCE_S as TURN_PATIENCE_S
from benchmarks.turns import Gate
from benchmarks.workload import CONTEXT

Processes = list[subprocess.Popen[bytes]]

WARM_UP = 3
DROPPED = 1
"""Steps left out at the beginning of each turn: the first one holds the wait for the turn."""


@dataclass(frozen=True)
class Case:
    """One comparison. ``samples``: of a shard; for the GPT windows of ``context`` tokens."""

    group: str
    model: str
    workers: int
    shards: int
    samples: int
    mode: str
    context: int = CONTEXT
    turn_steps: int = 6
    rounds: int = 6

    @property
    def shards_each(self) -> int:
        """Shards per worker."""
        return self.shards // self.workers

    @property
    def per_shard(self) -> str:
        """The size of a shard, with its unit."""
        return f"{self.samples * self.context} tokens" if self.model == "gpt" else f"{self.samples} samples"


class StepResult(msgspec.Struct, frozen=True):
    """What one case gave. Ratios are Pliant's median step of a round over DDP's of the same round."""

    group: str
    model: str
    workers: int
    shards_each: int
    per_shard: str
    mode: str
    pliant_s: Spread
    ddp_s: Spread
    ratio: Spread
    pliant_peak_bytes: int
    ddp_peak_bytes: int


def cases(*, quick: bool) -> list[Case]:
    """All comparisons of the table; ``quick``: the small ones, fewer rounds."""
    counts = (1, 2, 3, 4)
    one = [Case("one shard per worker", "gpt", n, n, 2, "single", turn_steps=9) for n in counts]
    one += [Case("one shard per worker", "mlp", n, n, 64, "single", turn_steps=60, rounds=10) for n in counts]
    several = [Case("several shards, DDP accumulates", "gpt", n, 4 * n, 1, "accumulate", rounds=5) for n in counts]
    several += [
        Case("several shards, DDP accumulates", "mlp", n, 4 * n, 64, "accumulate", turn_steps=40, rounds=8)
        for n in counts
    ]
    single = [
        Case("shard size, DDP in one pass", "gpt", 1, 8, windows, "single", context, turn_steps=4, rounds=rounds)
        for windows, context, rounds in ((1, 16, 8), (2, 128, 5), (4, 128, 5))
    ]
    single += [Case("shard size, DDP in one pass", "gpt", 2, 8, 4, "single", turn_steps=3, rounds=5)]
    if not quick:
        return one + several + single
    chosen = [case for case in one + several if case.workers in {1, 2}] + single[:1]
    return [Case(**{**vars(case), "turn_steps": min(case.turn_steps, 12), "rounds": 2}) for case in chosen]


def measure(case: Case) -> StepResult:
    """Run one case: rounds of one turn each, the order of the two systems alternating.

    Raises:
        RuntimeError: A process failed or a turn took longer than five minutes.
    """
    with tempfile.TemporaryDirectory(prefix="pliant-turns-") as name, pliant_home() as env:
        turns = Path(name)
        gates = {system: Gate(turns, system) for system in ("pliant", "ddp")}
        steps = WARM_UP + case.turn_steps * case.rounds
        shared = [f"--model={case.model}", f"--shards={case.shards}", f"--per-shard={case.samples}"]
        shared += [f"--context={case.context}", f"--steps={steps}", f"--turns={name}"]
        shared += [f"--turn-steps={case.turn_steps}", f"--warm-up={WARM_UP}"]
        options = ("--workers", str(case.workers), "--patience", str(PATIENCE_S))
        processes = [start_pliant(env, options, shared)]
        try:
            wait_turn(gates["pliant"], processes)
            processes += start_ddp(turns, case.workers, [*shared, f"--mode={case.mode}"])
            wait_turn(gates["ddp"], processes)
            times_s = _rounds(case, gates, processes)
            for gate in gates.values():
                gate.open()
            finish(processes)
        except BaseException:
            for log in (Path(env["PLIANT_HOME"], "pliant.log"), turns / "ddp.log"):
                print(log.read_text(errors="replace")[-3000:] if log.exists() else "", flush=True)
            raise
        finally:
            end(processes)
            for gate in gates.values():
                gate.close()
        peaks = {system: max(read_peaks(turns, system), default=0) for system in gates}
    return _result(case, times_s, peaks)


def _rounds(case: Case, gates: dict[str, Gate], processes: Processes) -> dict[str, list[list[float]]]:
    times_s: dict[str, list[list[float]]] = {system: [] for system in gates}
    for number in range(case.rounds):
        for system in sorted(gates, reverse=number % 2 == 0):
            gates[system].open()
            times_s[system].append(wait_turn(gates[system], processes)[DROPPED:])
    return times_s


def wait_turn(gate: Gate, processes: Processes) -> list[float]:
    """The seconds of the steps of a turn, once it is over."""
    for _ in range(int(TURN_PATIENCE_S)):
        times_s = gate.times_s()
        if times_s is not None:
            return times_s
        for process in processes:
            if process.poll():
                raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}")
    raise RuntimeError(f"no turn was finished within {TURN_PATIENCE_S:.0f} s")


def _result(case: Case, times_s: dict[str, list[list[float]]], peaks: dict[str, int]) -> StepResult:
    medians = {system: [spread(turn).median for turn in turns] for system, turns in times_s.items()}
    return StepResult(
        group=case.group,
        model=case.model,
        workers=case.workers,
        shards_each=case.shards_each,
        per_shard=case.per_shard,
        mode=case.mode,
        pliant_s=spread([value for turn in times_s["pliant"] for value in turn]),
        ddp_s=spread([value for turn in times_s["ddp"] for value in turn]),
        ratio=spread([ours / theirs for ours, theirs in zip(medians["pliant"], medians["ddp"], strict=True)]),
        pliant_peak_bytes=peaks["pliant"],
        ddp_peak_bytes=peaks["ddp"],
    )
