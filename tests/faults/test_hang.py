"""Workers and coordinators that stand still (SIGSTOP), that are slow, and that are busy."""

import os
import signal
import time

import pytest
from elastic_books import assert_same_bits
from elastic_lab import LONGEST, is_alive, wait_until

from pliant.processes import process_state
from pliant.timeouts import Timeouts

STEPS = LONGEST
PATIENCE_S = 2.5


@pytest.fixture
def begin(own_lab, tmp_path):
    def run(count):
        words = ("--steps", STEPS, "--delay", 0.05)
        job = own_lab.run(tmp_path, "train.py", *words, workers="1:4", start=count, patience=PATIENCE_S)
        job.wait_workers(count)
        return job

    return run


@pytest.fixture
def reference(undisturbed):
    return undisturbed("train.py", "--steps", STEPS)


def stop_within_a_shard(job, worker):
    """SIGSTOP, and the fault has fired: the process is stopped. Returns its pid."""
    job.hold("shard", worker)
    job.wait_held("shard", worker)
    pid = job.worker(worker).pid
    job.hang(worker)
    job.release("shard", worker)
    return pid


def same_bits(ended, reference):
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.at(ended.report["steps"] - 1)[0]


def test_a_stopped_worker_is_expelled_and_leaves_when_it_wakes(begin, reference):
    job = begin(3)
    pid = woken = stop_within_a_shard(job, "w2")
    (silent,) = job.wait_event("worker_silent")
    assert "w2" in silent.message
    assert "its process is stopped" in silent.message
    booked = job.books().digests.get(woken, {})
    job.wait_step(job.status().step + 1)
    assert process_state(pid).stopped, "the others went on while it stood still"
    os.kill(pid, signal.SIGCONT)
    (ended_event,) = job.wait_event("expelled_ended")
    assert "exit code 0" in ended_event.message
    assert not is_alive(pid)
    job.wait_workers(3)

    # Another one never wakes up: it is killed.
    pid = stop_within_a_shard(job, "w3")
    ended_event = job.wait_event("expelled_ended", count=2)[1]
    assert "w3" in ended_event.message
    assert "SIGKILL" in ended_event.message
    job.wait_workers(3)
    ended = job.stop()
    same_bits(ended, reference)
    assert ended.trace.digests.get(woken, {}) == booked, "it has committed nothing after it woke up"
    lost = [event["message"].partition(",")[0] for event in ended.events("worker_lost")]
    assert lost == ["w2", "w3"]


@pytest.mark.few(0)
def test_slow_and_busy_workers_are_not_taken_for_hung(begin, reference):
    job = begin(2)
    job.hold("shard", "w2")
    job.wait_held("shard", "w2")
    began_s = time.monotonic()
    wait_until(lambda: time.monotonic() - began_s > 2 * Timeouts(PATIENCE_S).hang_s, "twice what a hang would take")
    assert not job.events("worker_silent", "worker_slow", "worker_lost")
    (job.out / "spin-w2").write_text(str(2 * Timeouts(PATIENCE_S).hang_s))
    job.release("shard", "w2")
    (slow,) = job.wait_event("worker_slow")
    assert "w2" in slow.message
    assert "busy" in slow.message
    step = job.status().step
    job.wait_step(step + 5)
    ended = job.stop()
    same_bits(ended, reference)
    assert not ended.events("worker_silent")
    assert not ended.events("worker_lost")


def test_a_coordinator_that_stood_still_expels_nobody(begin, own_lab, reference):
    job = begin(2)
    pid = own_lab.coordinator
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: process_state(pid).stopped, "the coordinator is stopped")
    began_s, books = time.monotonic(), job.out
    steps = lines(books)
    wait_until(lambda: time.monotonic() - began_s > 2 * Timeouts(PATIENCE_S).hang_s, "longer than the patience")
    assert lines(books) > steps, "training went on meanwhile"
    os.kill(pid, signal.SIGCONT)
    job.scale(3)
    job.wait_workers(3)
    assert own_lab.coordinator == pid, "nobody has started another one"
    ended = job.stop()
    same_bits(ended, reference)
    assert not {"worker_silent", "worker_lost", "worker_slow", "worker_cut_off"} & set(ended.kinds)


def lines(books):
    return sum(len(path.read_text().splitlines()) for path in books.glob("book-*.jsonl"))
