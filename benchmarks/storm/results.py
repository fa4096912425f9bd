"""What a storm gave, and its page: ``DATE-storm.md`` and ``.json``."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.page import Machine, row, write_both
from benchmarks.storm.accounts import SampleBooks
from benchmarks.storm.storm import Hit

AIM = 0.9


class StormResult(msgspec.Struct):
    """One storm. Goodput: committed steps / physically possible ones, between the first fault and the last effect."""

    date: str
    machine: Machine
    seed: int
    patience_s: float
    workers: int
    failure: str = ""
    wall_s: float = 0.0
    wanted_faults: dict[str, int] = {}
    faults: dict[str, int] = {}
    hit_while_joining: int = 0
    coordinator_restarts: int = 0
    calm_step_s: dict[int, float] = {}
    storm_s: float = 0.0
    committed: int = 0
    possible: float = 0.0
    possible_without_patience: float = 0.0
    patience_excluded_s: float = 0.0
    mean_workers: float = 0.0
    books: SampleBooks | None = None
    sha256: list[str] = []
    undisturbed_sha256: list[str] = []
    hits: list[Hit] = []

    @property
    def goodput(self) -> float:
        """With every second of every hang counted against it."""
        return self.committed / self.possible if self.possible else 0.0

    @property
    def goodput_without_patience(self) -> float:
        """Without one patience for each hang: sooner nobody can tell a hung worker from a slow one."""
        return self.committed / self.possible_without_patience if self.possible_without_patience else 0.0

    @property
    def identical(self) -> bool:
        """All workers that came to the end have the undisturbed run's weights."""
        return len(set(self.sha256)) == 1 and set(self.sha256) == set(self.undisturbed_sha256)


def markdown(result: StormResult) -> str:
    """For readers."""
    machine = result.machine
    head = [
        f"# A storm on {result.date}",
        f"{machine.processor}, {machine.cores} cores, {machine.system}; Python {machine.python}, torch "
        f"{machine.torch}. An MLP of a third of a million parameters, 12 shards, {result.workers} workers wanted "
        f"(1:4), --patience {result.patience_s:g}, seed {result.seed}.",
    ]
    if result.failure:
        head.append(f"**The storm failed: {result.failure}**")
    return "\n\n".join([*head, _table(result), _how(result)]) + "\n"


def _table(result: StormResult) -> str:
    told = ", ".join(f"{count} {kind}" for kind, count in result.faults.items())
    calm = ", ".join(f"{count}: {step_s * 1e3:.1f} ms" for count, step_s in sorted(result.calm_step_s.items()))
    books = result.books
    lines = [
        row("", ""),
        row("---", "---"),
        row("faults that hit a process", f"{told}; {result.hit_while_joining} of them while joining"),
        row("wanted", ", ".join(f"{count} {kind}" for kind, count in result.wanted_faults.items())),
        row("time", f"{result.storm_s:.0f} s, one fault each {result.storm_s / max(1, len(result.hits)):.2f} s"),
        row("calm step by workers", calm),
        row("workers in training, mean", f"{result.mean_workers:.2f}"),
        row("steps committed / possible", f"{result.committed} / {result.possible:.0f}"),
        row("goodput", f"{result.goodput:.1%}"),
        row(
            "goodput without one patience a hang",
            f"**{result.goodput_without_patience:.1%}** (aim {AIM:.0%}; {result.patience_excluded_s:.0f} s excluded)",
        ),
    ]
    if books is not None:
        lines += [
            row("steps", f"{books.steps}, {books.missing_steps} never committed"),
            row("samples lost / repeated", f"{books.lost} / {books.repeated}"),
            row("shards computed again because their worker died", books.recomputed),
        ]
    lines += [
        row("final weights", ", ".join(sorted({sha[:16] for sha in result.sha256})) or "none"),
        row("of the undisturbed worker", ", ".join(sha[:16] for sha in result.undisturbed_sha256) or "not run"),
        row("identical", "yes" if result.identical else "**no**"),
    ]
    return "\n".join(lines)


def _how(result: StormResult) -> str:
    return (
        "Possible steps: for each stretch of time with a constant number of live workers in training, its length over "
        "the mean undisturbed step with that many, measured in calm stretches of this same run before and after the "
        "storm. A worker is live from its first commit to the signal that hits it. Of the second goodput, "
        f"{result.patience_s:g} s from each SIGSTOP are left out (overlapping ones once). All numbers come from "
        "what the workers wrote down with each shard and commit. A shard that is computed again because its worker "
        "died is not a repeated sample: counted is what was committed."
    )


def write(result: StormResult, directory: Path) -> Path:
    """Both files; returns the readable one."""
    return write_both(result, markdown(result), directory / f"{result.date}-storm")
