"""The coordinator dies by SIGKILL: training goes on, its successor knows everything, and does what is asked of it."""

import fcntl
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

from elastic_lab import is_alive, wait_until
from fault_checks import check, go_on


@contextmanager
def no_other_coordinator(lab):
    """Keep everybody from starting a coordinator: they all queue for this lock first."""
    with (lab.home / "start.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def slowest(job, pids):
    """The newest step that all of these processes have booked."""
    digests = job.books().digests
    return min(max(digests.get(pid, {}), default=-1) for pid in pids.values())


def test_training_goes_on_without_a_coordinator_and_the_next_one_knows_all(own_lab, start_in, reference):
    job = start_in(own_lab, 3)
    job.scale(4)
    pids = {worker.worker: worker.pid for worker in job.wait_workers(4)}
    before = job.events()
    with no_other_coordinator(own_lab):
        killed = job.kill_coordinator()
        begin = slowest(job, pids)
        wait_until(lambda: slowest(job, pids) >= begin + 5, "five more steps without a coordinator")
        # A death that nobody can answer yet: the others wait for a generation.
        os.kill(pids["w2"], signal.SIGKILL)
        wait_until(lambda: not is_alive(pids["w2"]), "w2 is gone")
    job.wait_workers(4)
    assert own_lab.coordinator != killed
    after = job.events()
    told = [(event.seq, event.kind, event.message) for event in before]  # what an event cost may be known later
    assert [(event.seq, event.kind, event.message) for event in after][: len(told)] == told
    assert len({event.seq for event in after}) == len(after)
    (returned,) = [event for event in after if event.kind == "coordinator_returned"]
    assert returned.seq > before[-1].seq
    job.scale(2)
    go_on(job, 2)
    ended = job.stop()
    events = check(ended, reference, lost=["w2"])
    assert events["w2"]["shards_recomputed"] > 0
    assert len(ended.report["commit_times_s"]) == ended.report["steps"]
    assert None not in ended.report["losses"]  # every commit was told to one or the other


def test_killed_while_a_worker_joins_while_one_leaves_and_during_a_recovery(own_lab, start_in, reference):
    job = start_in(own_lab, 2)
    # While one joins: w3 is in its rehearsal, and becomes ready while nobody is there.
    job.hold("rehearsal", "w3")
    job.scale(3)
    job.wait_held("rehearsal", "w3")
    job.kill_coordinator()
    job.release("rehearsal", "w3")
    go_on(job, 3)
    # While one leaves: it has asked to, and the boundary is not there yet.
    job.hold("shard", "w1")
    job.wait_held("shard", "w1")
    job.signal("w3", signal.SIGTERM)
    job.wait(lambda status: status.target_workers == 2, "the job knows that w3 leaves")
    job.kill_coordinator()
    job.release("shard", "w1")
    go_on(job, 2)
    # During a recovery: w1 stands still, so its answer is awaited when w2 has died.
    job.hang("w1")
    job.kill("w2")
    job.kill_coordinator()
    job.wake("w1")
    go_on(job, 2)
    ended = job.stop()
    check(ended, reference, lost=["w2"], ahead=8)  # w2 may have been in a step that w1 had not begun
    assert len(ended.events("coordinator_returned")) == 3
    assert len(ended.events("worker_left")) == 1


def test_killed_as_the_job_is_stopped(own_lab, start_in, reference):
    job = start_in(own_lab, 2)
    job.pass_steps(2)
    with no_other_coordinator(own_lab):
        job.hold("shard", "w1")
        job.wait_held("shard", "w1")
        own_lab.ask(lambda client: client.stop(job.name))
        job.kill_coordinator()
        job.release("shard", "w1")
    check(job.end(5), reference, lost=[])


def test_a_command_waits_for_the_next_coordinator(own_lab, start_in, reference):
    job = start_in(own_lab, 2)
    with ThreadPoolExecutor(2) as threads:
        with no_other_coordinator(own_lab):
            job.kill_coordinator()
            asked = [threads.submit(own_lab, *words) for words in (("scale", job.name, 3), ("status", "--json"))]
            done, _ = wait(asked, timeout=1)
            assert not done, "without a coordinator nobody can answer"
        scaled, status = (each.result() for each in asked)
    assert scaled.returncode == 0, scaled.stderr
    assert [each["name"] for each in json.loads(status.stdout)] == [job.name]
    go_on(job, 3)
    check(job.stop(), reference, lost=[])
