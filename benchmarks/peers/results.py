"""Writes the comparison: ``DATE-peers.md`` for readers, ``DATE-peers.json`` for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path

import msgspec

from benchmarks.page import Machine, row, write_both
from benchmarks.peers.measure import CHANGE_WORK, CHANGES, Reference, StepRun
from benchmarks.peers.scenarios import ChangeRun
from benchmarks.spread import Spread, spread

TITLES = {"kill": "SIGKILL of one of 3", "grow": "2 to 3 workers", "leave": "planned leave, 3 to 2"}
AIMS = {
    "kill": "at most 0.1 s plus the dead worker's shards",
    "grow": "stall at most 0.1 s; command to joined at most 0.3 s from the warm template, 1.6 s cold",
    "leave": "at most 0.05 s",
}


class PeerResults(msgspec.Struct):
    """One run of the comparison; ``missing``: systems that could not run, and why."""

    date: str
    quick: bool
    machine: Machine
    versions: dict[str, dict[str, str]] = {}
    settings: dict[str, dict[str, str]] = {}
    lines_changed: dict[str, int] = {}
    missing: dict[str, str] = {}
    steps: list[StepRun] = []
    references: list[Reference] = []
    changes: list[ChangeRun] = []


def of(results: PeerResults, what: str, system: str) -> list[ChangeRun]:
    """The runs of one cell."""
    return [run for run in results.changes if run.what == what and run.system == system]


def spread_of(runs: Sequence[ChangeRun], value: Callable[[ChangeRun], float | None]) -> Spread | None:
    """Over the runs that have this number."""
    values = [found for run in runs if (found := value(run)) is not None and not isnan(found)]
    return spread(values) if values else None


def markdown(results: PeerResults) -> str:
    """All tables."""
    machine = results.machine
    parts = [
        f"# Beside its peers, {results.date}" + (" (a short look: one run each)" if results.quick else ""),
        f"{machine.processor}, {machine.cores} cores, {machine.system}; Python {machine.python}, "
        f"torch {machine.torch}; one intra-op thread for each worker, Gloo and everything else on loopback. Medians, "
        "quartiles in brackets. All numbers are counted from what the training scripts wrote down at each commit, with "
        "the machine's monotonic clock; "
        "no system's own word is used, but for Pliant's that a newcomer's rehearsal is none of the job's steps.",
    ]
    if results.missing:
        parts += ["## Could not run", *[f"* {name}: {why}" for name, why in results.missing.items()]]
    if results.steps:
        parts += ["## Failure-free steps (milliseconds; ratio to plain DDP)", steps_table(results)]
    for what in CHANGES if results.changes else ():
        parts += [f"## {TITLES[what]}", f"Aim: {AIMS[what]}.", change_table(results, what)]
    if results.changes:
        work = CHANGE_WORK
        parts += [
            f"GPT of 10.7 million parameters, {work.batch} windows of {work.context} tokens a step over all workers "
            f"(Pliant: in {work.shards} shards), AdamW, one epoch. Stall: the longest gap between two commits around "
            "the change less an ordinary step before it. Steps redone: committed twice, because the system went back. "
            "Samples never trained and trained more than once: of the one epoch, in what the final weights come from; "
            "torchft leaves out the samples of a replica that is absent (so also before the third one has joined). "
            "Weights: equal to those of the system's own undisturbed run of one worker with the same global batch.",
            "## Failures",
            failures(results),
        ]
    parts += ["## Lines changed in the plain script", lines_table(results), "Aim: under 10."]
    parts += ["## Versions and settings", settings_table(results)]
    return "\n\n".join(parts) + "\n"


def steps_table(results: PeerResults) -> str:
    """A line for each model and worker count."""
    systems = list(dict.fromkeys(run.system for run in results.steps))
    lines = [row("model", "workers", *systems), row(*["---"] * (2 + len(systems)))]
    for model, workers in dict.fromkeys((run.model, run.workers) for run in results.steps):
        cells = []
        for system in systems:
            same = [r for r in results.steps if (r.model, r.workers, r.system) == (model, workers, system)]
            values = [run.step_s for run in same if run.step_s]
            ratios = step_ratios(results, model, workers, system)
            text = spread(values).text(scale=1e3, digits=1) if values else f"failed: {same[0].failure}"
            cells.append(text + (f", {spread(ratios).median:.2f}" if ratios else ""))
        lines.append(row(model, workers, *cells))
    return "\n".join(lines)


def step_ratios(results: PeerResults, model: str, workers: int, system: str) -> list[float]:
    """To plain DDP's step of the same round."""
    by_system = {
        name: [r.step_s for r in results.steps if (r.model, r.workers, r.system) == (model, workers, name)]
        for name in (system, "ddp")
    }
    pairs = zip(by_system[system], by_system["ddp"], strict=False)
    return [mine / plain for mine, plain in pairs if mine and plain]


def change_table(results: PeerResults, what: str) -> str:
    """A line for each system."""
    columns = ["system", "stall s", "ordinary step s", "command to joined s", "steps redone", "samples never trained"]
    columns += ["samples twice", "weights equal", "failed runs"]
    lines = [row(*columns), row(*["---"] * len(columns))]
    for system in dict.fromkeys(run.system for run in results.changes):
        runs = of(results, what, system)
        times = [spread_of(runs, lambda r: r.stall_s), spread_of(runs, lambda r: r.ordinary_s)]
        times.append(spread_of(runs, lambda r: r.joined_s))
        counts = [
            spread_of(runs, lambda r: r.redone),
            spread_of(runs, lambda r: r.never),
            spread_of(runs, lambda r: r.twice),
        ]
        equal = [run.same_weights for run in runs if run.same_weights is not None]
        lines.append(
            row(
                system,
                *["" if value is None else value.text() for value in times],
                *["" if value is None else value.text(digits=0) for value in counts],
                f"{sum(equal)} of {len(equal)}" if equal else "",
                f"{sum(bool(run.failure) for run in runs)} of {len(runs)}",
            )
        )
    return "\n".join(lines)


def failures(results: PeerResults) -> str:
    """What went wrong, each with how often; lost and repeated samples are no failures here."""
    counts: dict[tuple[str, str, str], int] = {}
    for run in results.changes:
        if run.failure:
            key = (run.system, run.what, run.failure)
            counts[key] = counts.get(key, 0) + 1
    for reference in results.references:
        if reference.failure:
            counts[(reference.system, "undisturbed", reference.failure)] = 1
    lines = [f"* {system}, {what}: {times} times: {why}" for (system, what, why), times in counts.items()]
    return "\n".join(lines) if lines else "None."


def lines_table(results: PeerResults) -> str:
    """One line for each system."""
    lines = [row("system", "lines"), row("---", "---")]
    lines += [row(system, count) for system, count in results.lines_changed.items()]
    return "\n".join(lines)


def settings_table(results: PeerResults) -> str:
    """What each system was run with."""
    lines = [row("system", "setting", "value"), row(*["---"] * 3)]
    for system, settings in results.settings.items():
        installed = ", ".join(f"{name} {number}" for name, number in results.versions[system].items())
        lines.append(row(system, "version", installed or "not installed"))
        lines += [row(system, name, value) for name, value in settings.items()]
    return "\n".join(lines)


def write(results: PeerResults, directory: Path) -> Path:
    """Both files; returns the readable one."""
    stem = f"{results.date}-peers" + ("-quick" if results.quick else "")
    return write_both(results, markdown(results), directory / stem)
