"""Planned changes: SIGTERM to a worker (a spot notice), scale up and down. Nothing is computed twice, same bits."""

import signal

import pytest
from elastic_books import assert_exactly_once, assert_same_bits
from elastic_lab import LONGEST, is_alive, wait_until

STEPS = LONGEST
DELAY = ("--delay", 0.04)


@pytest.fixture
def reference(undisturbed):
    return undisturbed("train.py", "--steps", STEPS)


@pytest.fixture
def start(lab, tmp_path):
    def begin(workers, count):
        job = lab.run(tmp_path, "train.py", "--steps", STEPS, *DELAY, workers=workers, start=count)
        job.wait_workers(count)
        return job

    return begin


def check(ended, reference):
    steps = ended.report["steps"]
    assert ended.events("worker_lost") == []
    assert_same_bits(ended.trace, reference)
    assert_exactly_once(ended.trace, reference, steps=steps)
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]
    for kind in ("workers_joined", "worker_left", "workers_shrunk"):
        for event in ended.events(kind):
            assert event["stall_s"] is not None
            assert event["shards_recomputed"] == 0
            assert (event["bytes_moved"] > 0) == (kind == "workers_joined")


def test_sigterm_is_a_planned_leave(start, reference):
    job = start("1:4", 4)
    leavers = ["w2", "w1"]  # a middle rank, then rank 0
    for number, leaver in enumerate(leavers, 1):
        pid = job.signal(leaver, signal.SIGTERM)
        wait_until(lambda pid=pid: not is_alive(pid), f"{leaver} has left")
        job.wait_workers(4 - number)
        job.wait_step(job.status().step + 3)
        assert job.status().target_workers == 4 - number
    ended = job.stop()
    check(ended, reference)
    left = ended.events("worker_left")
    assert [(event["workers_before"], event["workers_after"]) for event in left] == [(4, 3), (3, 2)]
    assert [event["message"].partition(" ")[0] for event in left] == leavers


def test_sigterm_to_all_but_one(start, reference):
    job = start("1:4", 4)
    pids = [job.signal(worker, signal.SIGTERM) for worker in ("w1", "w2", "w3")]
    (last,) = job.wait_workers(1)
    assert last.worker == "w4"
    assert not any(is_alive(pid) for pid in pids)
    job.wait_step(job.status().step + 3)
    ended = job.stop()
    check(ended, reference)
    assert ended.events("worker_left")[-1]["workers_after"] == 1


def test_at_the_minimum_the_replacement_comes_first(start, reference):
    job = start("2:4", 2)
    job.signal("w1", signal.SIGTERM)
    after = job.wait(
        lambda s: (names := {w.worker for w in s.workers}) == {"w2", "w3"} and names, "w3 has taken the place of w1"
    )
    assert len(after) == 2
    job.wait_workers(2)
    job.wait_step(job.status().step + 3)
    ended = job.stop()
    check(ended, reference)
    counts = [workers for _, workers in ended.report["workers_over_time"]]
    assert min(counts) == 2, f"workers over time: {counts}"


def test_up_and_down_and_up(start, reference):
    job = start("1:4", 1)
    for workers in (3, 2, 3, 1, 4):
        job.scale(workers)
        job.wait_workers(workers)
        job.wait_step(job.status().step + 2)
    ended = job.stop()
    check(ended, reference)
    joined = ended.events("workers_joined")
    shrunk = ended.events("workers_shrunk")
    assert [event["workers_after"] for event in shrunk] == [2, 1]
    assert joined[0]["workers_before"] == 1
    assert joined[-1]["workers_after"] == 4


def test_scaled_back_before_the_newcomers_are_there(start, reference):
    job = start("1:4", 1)
    job.hold("start", "w2")
    job.scale(2)
    job.wait_held("start", "w2")
    job.scale(1)
    job.release("start", "w2")
    job.wait_workers(1)
    job.scale(2)
    job.wait_workers(2)
    check(job.stop(), reference)
