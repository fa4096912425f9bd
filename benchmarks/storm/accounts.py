"""From the books: was every sample trained exactly once, and how much of the possible work was done. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import msgspec

from benchmarks.storm.books import Worker

SETTLED_STEPS = 5
"""Steps after a change of workers that are not taken as calm ones."""


class SampleBooks(msgspec.Struct, frozen=True):
    """``lost`` and ``repeated``: samples of an epoch; ``recomputed``: shards computed again, which is no repetition."""

    steps: int
    missing_steps: int
    lost: int
    repeated: int
    recomputed: int


def balance(workers: Sequence[Worker], *, steps: int, steps_per_epoch: int, size: int) -> SampleBooks:
    """Check that the committed steps of each epoch hold every one of the ``size`` samples exactly once.

    A worker that ended unasked may have given its last shards to the others or not, and they compute them again if
    not: its last step's samples count as trained, but never as trained twice.
    """
    certain: Counter[tuple[int, int]] = Counter()
    doubtful: set[tuple[int, int]] = set()
    committed: set[int] = set()
    shards: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for worker in workers:
        last = worker.commits[-1].step if worker.commits else -1
        ended = worker.end_sha is not None
        for commit in worker.commits:
            committed.add(commit.step)
            pairs = [(commit.step // steps_per_epoch, sample) for sample in commit.samples]
            if ended or commit.step < last:
                certain.update(pairs)
            else:
                doubtful.update(pairs)
        for step, computed in worker.shards.items():
            shards.update((step, samples) for samples in computed)
            if not ended and step > last:
                doubtful.update((step // steps_per_epoch, sample) for samples in computed for sample in samples)
    epochs = -(-steps // steps_per_epoch)
    lost = sum(
        (epoch, sample) not in certain and (epoch, sample) not in doubtful
        for epoch in range(epochs)
        for sample in range(size)
    )
    return SampleBooks(
        steps=steps,
        missing_steps=sum(step not in committed for step in range(steps)),
        lost=lost,
        repeated=sum(times - 1 for times in certain.values()),
        recomputed=sum(times - 1 for times in shards.values()),
    )


class Span(msgspec.Struct, frozen=True):
    """A time with a constant number of live workers in training."""

    begin_s: float
    end_s: float
    workers: int


def spans(workers: Sequence[Worker], begin_s: float, end_s: float) -> list[Span]:
    """A worker counts from its first commit until a signal hit it or it was gone."""
    changes: Counter[float] = Counter()
    for worker in workers:
        if worker.first_commit_s is None:
            continue
        changes[worker.first_commit_s] += 1
        stopped_s = worker.stopped_s if worker.stopped_s is not None else end_s
        changes[max(stopped_s, worker.first_commit_s)] -= 1
    found, count, since_s = [], 0, begin_s
    for time_s in [*sorted(changes), end_s]:
        until_s = min(max(time_s, begin_s), end_s)
        if until_s > since_s:
            found.append(Span(since_s, until_s, count))
            since_s = until_s
        count += changes.get(time_s, 0)
    return found


def step_times_s(workers: Sequence[Worker]) -> list[tuple[float, int]]:
    """(time of the first commit, step) of each step, in order."""
    first: dict[int, float] = {}
    for worker in workers:
        for commit in worker.commits:
            first[commit.step] = min(commit.time_s, first.get(commit.step, commit.time_s))
    return sorted((time_s, step) for step, time_s in first.items())


def calm_step_s(times_s: Sequence[float], found: Sequence[Span]) -> dict[int, float]:
    """Workers -> mean step in the given spans, without the first steps of each.

    The mean and not the median: a machine that is shared has slow steps in calm times, too, and what is possible is
    what undisturbed workers get done in the same time.
    """
    gaps: dict[int, list[float]] = {}
    for span in found:
        inside = [time_s for time_s in times_s if span.begin_s <= time_s <= span.end_s][SETTLED_STEPS:]
        gaps.setdefault(span.workers, []).extend(after - before for before, after in pairwise(inside))
    return {workers: fmean(values) for workers, values in gaps.items() if values}


def possible_steps(
    found: Sequence[Span], calm_s: dict[int, float], excluded: Sequence[tuple[float, float]] = ()
) -> float:
    """What the live workers could have committed: duration / calm step, without the excluded times."""
    total = 0.0
    for span in found:
        if span.workers == 0:
            continue
        out_s = sum(max(0.0, min(span.end_s, end) - max(span.begin_s, begin)) for begin, end in merged(excluded))
        nearest = min(calm_s, key=lambda workers: abs(workers - span.workers))
        total += (span.end_s - span.begin_s - out_s) / calm_s[nearest]
    return total


def merged(times: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Overlapping times as one."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(times):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found
