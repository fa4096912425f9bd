"""(d) Step time while checkpoints are written against without: two jobs of Pliant alive, training in turns.

What counts is the mean over a turn, because a checkpoint is felt in few of its steps. Each turn has one, near its
beginning, and the other job's turn begins only when that is written to its end.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec

from benchmarks.launch import PATIENCE_S, end, finish, pliant_home, start_pliant
from benchmarks.spread import Spread, spread
from benchmarks.steps import DROPPED, Processes, wait_turn
from benchmarks.turns import Gate

BEFORE = 2
"""Steps of a turn before its checkpoint is due."""
SYSTEMS = ("with", "without")


@dataclass(frozen=True)
class Case:
    """One comparison; a turn has ``every`` steps, and so has the warm-up, but for those before a checkpoint."""

    model: str
    workers: int
    shards: int
    samples: int
    every: int
    rounds: int = 6


class CheckpointResult(msgspec.Struct, frozen=True):
    """What one case gave. Ratios are the mean steps of a round's two turns."""

    model: str
    workers: int
    every: int
    checkpoint_bytes: int
    with_s: Spread
    without_s: Spread
    ratio: Spread


def cases(*, quick: bool) -> list[Case]:
    """All comparisons of the table."""
    rounds = 2 if quick else 8
    gpt = [Case("gpt", workers, workers, 2, every=20, rounds=rounds) for workers in (1, 2)]
    return [*gpt, *(Case("mlp", workers, workers, 64, every=200, rounds=rounds) for workers in (1, 2))]


def measure(case: Case) -> CheckpointResult:
    """Run one case: rounds of one turn each, the order alternating.

    Raises:
        RuntimeError: A process failed, or no checkpoint was written.
    """
    with tempfile.TemporaryDirectory(prefix="pliant-turns-") as name, pliant_home() as env:
        kept = Path(name, "checkpoints")
        gates: dict[str, Gate] = {}
        processes: Processes = []
        try:
            for system in SYSTEMS:
                turns = Path(name, system)
                turns.mkdir()
                gates[system] = Gate(turns, "pliant")
                options = ["--name", system, "--workers", str(case.workers), "--patience", str(PATIENCE_S)]
                if system == "with":
                    options += ["--checkpoint-every", str(case.every), "--keep", "2", "--checkpoints", str(kept)]
                processes.append(start_pliant(env, options, _script_args(case, turns)))
                wait_turn(gates[system], processes)
            times_s = _rounds(case, gates, processes, kept)
            for gate in gates.values():
                gate.open()
            finish(processes)
        except BaseException:
            log = Path(env["PLIANT_HOME"], "pliant.log")
            print(log.read_text(errors="replace")[-3000:] if log.exists() else "", flush=True)
            raise
        finally:
            end(processes)
            for gate in gates.values():
                gate.close()
        newest = max(kept.glob("step-*"), default=None)
        if newest is None:
            raise RuntimeError(f"no checkpoint was written into {kept}")
        size_bytes = sum(path.stat().st_size for path in newest.iterdir())
    return _result(case, times_s, size_bytes)


def _script_args(case: Case, turns: Path) -> list[str]:
    warm_up = case.every - BEFORE
    steps = warm_up + case.every * case.rounds
    sizes = [f"--model={case.model}", f"--shards={case.shards}", f"--per-shard={case.samples}", f"--steps={steps}"]
    return [*sizes, f"--turns={turns}", f"--turn-steps={case.every}", f"--warm-up={warm_up}"]


def _rounds(case: Case, gates: dict[str, Gate], processes: Processes, kept: Path) -> dict[str, list[list[float]]]:
    times_s: dict[str, list[list[float]]] = {system: [] for system in SYSTEMS}
    for number in range(case.rounds):
        for system in SYSTEMS if number % 2 == 0 else reversed(SYSTEMS):
            gates[system].open()
            times_s[system].append(wait_turn(gates[system], processes)[DROPPED:])
            while any(kept.glob(".partial-*")):
                time.sleep(0.01)
    return times_s


def _result(case: Case, times_s: dict[str, list[list[float]]], size_bytes: int) -> CheckpointResult:
    means = {system: [fmean(turn) for turn in turns] for system, turns in times_s.items()}
    return CheckpointResult(
        model=case.model,
        workers=case.workers,
        every=case.every,
        checkpoint_bytes=size_bytes,
        with_s=spread(means["with"]),
        without_s=spread(means["without"]),
        ratio=spread([one / other for one, other in zip(means["with"], means["without"], strict=True)]),
    )
