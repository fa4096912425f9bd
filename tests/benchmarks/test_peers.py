"""The comparison with other systems counts from books: rollbacks, losses, repetitions, stalls."""

from __future__ import annotations

import json
import signal
import sys
import time

import pytest
from benchmarks.page import this_machine
from benchmarks.peers.base import Job, Work
from benchmarks.peers.history import History, read_books
from benchmarks.peers.processes import Unit, environment
from benchmarks.peers.results import PeerResults, markdown
from benchmarks.peers.scenarios import ChangeRun, is_calm, judge, measure
from benchmarks.peers.systems import SYSTEMS, lines_changed
from benchmarks.storm.books import is_alive


class Shelf:
    """Books as the training scripts write them; process ``n`` gets pid ``n``."""

    def __init__(self, directory) -> None:
        self.directory = directory

    def write(self, process: int, *lines: tuple) -> None:
        with (self.directory / f"book-{process}-x.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def steps(self, process: int, times: dict[int, float], samples, *, begin: float, end: str | None = None) -> None:
        self.write(process, ("begin", begin, 0, process))
        for step, time_s in times.items():
            self.write(
                process, ("computes", time_s - 0.5, step, samples(step)), ("commit", time_s, step, samples(step))
            )
        if end is not None:
            self.write(process, ("end", 1e9, 0, end))

    def history(self) -> History:
        return History(read_books(self.directory))


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path)


def test_an_undisturbed_run_loses_and_repeats_nothing(shelf):
    for rank in range(2):
        shelf.steps(rank, {s: s + 0.001 * rank for s in range(20)}, lambda s, r=rank: [2 * s + r], begin=-1, end="same")
    history = shelf.history()
    assert [len(each) for each in history.rounds] == [2] * 20
    assert history.samples(of=40) == (0, 0)
    assert history.redone(0.0) == 0
    assert history.final_hashes() == {"same"}
    assert is_calm(history, 2)
    assert not is_calm(history, 3)


def test_a_rollback_is_seen_as_steps_done_again(shelf):
    for rank in range(2):
        shelf.steps(rank, {s: float(s) for s in range(15)}, lambda s, r=rank: [2 * s + r], begin=-1)
        again = {s: 30.0 + s for s in range(10, 20)}
        shelf.steps(10 + rank, again, lambda s, r=rank: [2 * s + r], begin=20, end="x")
    history = shelf.history()
    assert history.redone(14.5) == 5
    assert history.samples(of=40) == (0, 0)  # the first round of 10 to 14 is not in the weights
    assert history.stall_s(14.5, ahead=3, behind=0, ordinary_s=1.0) == pytest.approx(25.0)
    assert not history.went_back_to_zero(14.5)


def test_a_sampler_that_forgets_is_seen(shelf):
    shelf.steps(1, {s: float(s) for s in range(10)}, lambda s: [s], begin=-1)
    shelf.steps(2, {s: 30.0 + s for s in range(5, 10)}, lambda s: [s - 5 if s < 7 else s], begin=20, end="x")
    assert shelf.history().samples(of=10) == (2, 2)  # 5 and 6 were never trained, 0 and 1 twice


def test_the_last_step_of_a_dead_worker_is_neither_lost_nor_repeated(shelf):
    shelf.steps(1, {0: 0.0, 1: 1.0, 2: 2.0}, lambda s: [2 * s, 2 * s + 1] if s == 1 else [2 * s], begin=-1, end="x")
    shelf.steps(2, {0: 0.0, 1: 1.0}, lambda s: [2 * s + 1], begin=-1)  # its step 1 was computed again by the other
    shelf.write(2, ("computes", 1.5, 2, [5]))  # and this one reached the other before it died
    assert shelf.history().samples(of=6) == (0, 0)


def test_going_back_to_step_0_is_a_failure(shelf):
    shelf.steps(1, {s: float(s) for s in range(10)}, lambda s: [s], begin=-1)
    shelf.steps(2, {s: 30.0 + s for s in range(12)}, lambda s: [s], begin=20, end="x")
    history = shelf.history()
    assert history.went_back_to_zero(9.5)
    assert "went back to step 0" in judge(history, _Over(shelf.directory), 9.5, "", 1)


def test_a_newcomer_is_in_with_the_first_step_of_all(shelf):
    for rank in range(2):
        shelf.steps(rank, {s: float(s) for s in range(40)}, lambda s, r=rank: [3 * s + r], begin=-1, end="x")
    shelf.steps(2, {s: s + 0.01 for s in range(25, 40)}, lambda s: [3 * s + 2], begin=22, end="x")
    run = ChangeRun("any", "grow")
    measure(run, shelf.history(), 20.5, Work("gpt", 3, 3, 40))
    assert run.joined_s == pytest.approx(4.51)
    assert run.stall_s == pytest.approx(0.0)
    assert (run.redone, run.twice) == (0, 0)


class _Over(Job):
    """A job that has ended."""

    def __init__(self, directory) -> None:
        super().__init__(directory / "job", Work("gpt", 1, 1, 1), (1, 1), {})

    def start(self, workers: int) -> None:
        """Nothing."""

    def grow(self) -> None:
        """Nothing."""


def test_killing_a_unit_ends_what_descends_from_it(tmp_path):
    child = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    unit = Unit([sys.executable, "-c", child], environment(), tmp_path / "log")
    end_s = time.monotonic() + 60
    while len(pids := unit.pids()) < 2:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    unit.kill()
    assert unit.process.wait(60) == -signal.SIGKILL
    unit.close()
    assert unit.pids() == []
    while any(is_alive(pid) for pid in pids):  # the child's child is reaped by whoever has adopted it
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_every_system_starts_from_the_plain_script():
    changed = {system.name: lines_changed(system.script) for system in SYSTEMS}
    assert changed["pliant"] < 10
    assert all(0 < changed["pliant"] < count for name, count in changed.items() if name != "pliant")


def test_the_page_names_what_could_not_run_and_what_failed():
    results = PeerResults("2026-01-01", True, this_machine())
    results.missing["ray"] = "not installed"
    results.settings["pliant"], results.versions["pliant"] = {"options": "none"}, {"pliant": "1"}
    results.changes = [
        ChangeRun("pliant", "kill", stall_s=0.1, ordinary_s=0.2, redone=0, never=0, twice=0, same_weights=True),
        ChangeRun("torchft", "kill", failure="nothing moved for 150 s"),
    ]
    page = markdown(results)
    assert "* ray: not installed" in page
    assert "* torchft, kill: 1 times: nothing moved for 150 s" in page
    assert "| pliant | 0.10 (0.10-0.10) | 0.20 (0.20-0.20) |" in page
