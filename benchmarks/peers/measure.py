"""The whole comparison: which runs there are, in which order. Systems take turns, so that noise hits all alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.peers.base import System, Work
from benchmarks.peers.scenarios import ChangeRun, change, undisturbed

CHANGES = ("kill", "grow", "leave")
CHANGE_WORK = Work(model="gpt", batch=12, shards=6, steps=120)
STEP_WORK = {
    "gpt": {n: Work(model="gpt", batch=4 * n, shards=2 * n, steps=80, context=128) for n in (1, 2, 4)},
    "mlp": {n: Work(model="mlp", batch=128 * n, shards=2 * n, steps=400) for n in (1, 2, 4)},
}


class StepRun(msgspec.Struct):
    """The median failure-free step of one run."""

    system: str
    model: str
    workers: int
    step_s: float | None
    failure: str = ""


class Reference(msgspec.Struct):
    """The weights of a system's own undisturbed run of one worker, and of its second one: does it repeat itself?"""

    system: str
    sha256: str | None
    failure: str = ""


def measure_steps(systems: Sequence[System], *, rounds: int, hang_s: float) -> Iterator[StepRun]:
    """Failure-free steps at 1, 2 and 4 workers. Tuned and untuned variants of a system do the same there."""
    for number in range(rounds):
        for model, works in STEP_WORK.items():
            for workers, work in works.items():
                for system in [system for system in systems if system.tuned]:
                    ended = undisturbed(system, work, workers, hang_s=hang_s, whole=False)
                    yield StepRun(system.name, model, workers, ended.step_s, ended.failure)
                    told = f"{ended.step_s * 1e3:.1f} ms" if ended.step_s else ended.failure
                    say(f"steps, round {number + 1}/{rounds}: {model}, {workers} workers, {system.name}: {told}")


def change_work(system: System, steps: int) -> Work:
    """With enough steps for this system's changes."""
    return dataclasses.replace(CHANGE_WORK, steps=steps * system.longer)


def measure_references(systems: Sequence[System], *, steps: int, hang_s: float) -> Iterator[Reference]:
    """One worker, undisturbed, the same global batch."""
    for system in systems:
        ended = undisturbed(system, change_work(system, steps), 1, hang_s=hang_s, whole=True)
        yield Reference(system.name, ended.sha256, ended.failure)
        say(f"undisturbed, 1 worker, {system.name}: {(ended.sha256 or '')[:12] or 'no weights'} {ended.failure}")


def measure_changes(
    systems: Sequence[System], references: Sequence[Reference], *, runs: int, steps: int, hang_s: float
) -> Iterator[ChangeRun]:
    """Every change, ``runs`` times for each system that knows changes."""
    hashes = {reference.system: reference.sha256 for reference in references}
    for number in range(runs):
        for what in CHANGES:
            for system in [system for system in systems if system.elastic]:
                run = change(system, what, change_work(system, steps), hashes.get(system.name), hang_s=hang_s)
                yield run
                say(f"{what}, run {number + 1}/{runs}, {system.name}: {_told(run)}")


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def _told(run: ChangeRun) -> str:
    parts = [f"{name} {value:.2f} s" for name, value in (("stall", run.stall_s), ("joined", run.joined_s)) if value]
    parts += [f"redone {run.redone}, samples never {run.never}, twice {run.twice}, same weights {run.same_weights}"]
    parts += [f"FAILED: {run.failure}"] if run.failure else []
    return ", ".join(parts) + f" [{run.wall_s:.0f} s]"
