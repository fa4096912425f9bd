"""The storm's schedule and accounts."""

from __future__ import annotations

from collections import Counter

import pytest
from benchmarks.peers.history import Commit
from benchmarks.storm.accounts import Span, balance, calm_step_s, possible_steps, spans
from benchmarks.storm.books import Worker
from benchmarks.storm.schedule import schedule


def worker(pid: int, commits: dict[int, list[int]], *, ended: bool = True, stopped_s: float | None = None) -> Worker:
    """A worker that committed these steps, each one second after the one before."""
    found = Worker(f"w{pid}", pid, 0.0, stopped_s=stopped_s, end_sha="x" if ended else None)
    for step, samples in commits.items():
        found.commits.append(Commit(float(step), step, found.name, tuple(samples)))
        found.shards[step] = [tuple(samples)]
    return found


def test_the_same_seed_gives_the_same_storm_of_all_kinds():
    storm = schedule(seed=7, faults=500, first_step=100, gap_steps=20)
    assert storm == schedule(seed=7, faults=500, first_step=100, gap_steps=20)
    assert storm != schedule(seed=8, faults=500, first_step=100, gap_steps=20)
    assert [fault.step for fault in storm] == sorted(fault.step for fault in storm)
    assert storm[0].step > 100
    counts = Counter(fault.kind for fault in storm)
    assert 350 < counts["kill"] < 450
    assert counts["hang"] > 25
    assert counts["coordinator"] > 25
    assert 17 < (storm[-1].step - 100) / 500 < 23


def test_books_that_balance():
    workers = [worker(1, {0: [0, 1], 1: [4, 5]}), worker(2, {0: [2, 3], 1: [6, 7]})]
    books = balance(workers, steps=2, steps_per_epoch=2, size=8)
    assert (books.missing_steps, books.lost, books.repeated, books.recomputed) == (0, 0, 0, 0)


def test_a_shard_computed_again_for_a_dead_worker_is_not_repeated():
    survivor, dead = worker(1, {0: [0, 1], 1: [4, 5, 6, 7]}), worker(2, {0: [2, 3], 1: [6, 7]}, ended=False)
    survivor.shards[1] = [(4, 5), (6, 7)]
    books = balance([survivor, dead], steps=2, steps_per_epoch=2, size=8)
    assert (books.lost, books.repeated, books.recomputed) == (0, 0, 1)


def test_lost_and_repeated_samples_and_missing_steps_are_found():
    workers = [worker(1, {0: [0, 1], 2: [0, 5]}), worker(2, {0: [2, 3], 2: [6, 7]})]
    books = balance(workers, steps=3, steps_per_epoch=3, size=8)
    assert (books.missing_steps, books.lost, books.repeated) == (1, 1, 1)


def test_a_worker_is_live_from_its_first_commit_to_the_signal():
    workers = [worker(1, {0: [], 9: []}), worker(2, {2: [], 3: []}, ended=False, stopped_s=5.0), worker(3, {7: []})]
    assert spans(workers, 1.0, 9.0) == [Span(1.0, 2.0, 1), Span(2.0, 5.0, 2), Span(5.0, 7.0, 1), Span(7.0, 9.0, 2)]


def test_what_is_possible_is_measured_in_calm_stretches_of_the_same_count():
    times_s = [0.5 * n for n in range(20)] + [10 + 0.25 * n for n in range(40)]
    calm_s = calm_step_s(times_s, [Span(0.0, 9.6, 1), Span(10.0, 20.0, 2)])
    assert calm_s == {1: 0.5, 2: 0.25}
    found = [Span(20.0, 24.0, 2), Span(24.0, 26.0, 1), Span(26.0, 27.0, 0)]
    assert possible_steps(found, calm_s) == pytest.approx(20.0)
    assert possible_steps(found, calm_s, [(23.0, 24.0), (23.5, 25.0)]) == pytest.approx(14.0)
