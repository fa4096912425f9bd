"""How a job is looked at and ended from outside: status, events, stop, Ctrl-C, and a coordinator that dies."""

import json
import os
import signal
import time

import pytest
from elastic_books import assert_exactly_once, assert_same_bits
from elastic_lab import LONGEST, is_alive, read_traces, wait_until

STEPS = LONGEST


@pytest.fixture
def reference(undisturbed):
    return undisturbed("train.py", "--steps", STEPS)


def start(lab, tmp_path, count, **options):
    job = lab.run(tmp_path, "train.py", "--steps", STEPS, "--delay", 0.02, workers="1:3", start=count, **options)
    job.wait_workers(count)
    return job


def test_status_and_events_as_json_then_stop(lab, tmp_path, reference):
    job = start(lab, tmp_path, 2)
    job.scale(3)
    job.wait_workers(3)
    job.wait_event("workers_joined")
    done = lab("status", job.name, "--json")
    assert done.returncode == 0
    status = json.loads(done.stdout)
    assert (status["name"], status["state"], status["target_workers"]) == (job.name, "running", 3)
    assert status["shards"] == 8
    assert status["total_steps"] == STEPS
    workers = sorted(status["workers"], key=lambda worker: worker["rank"])
    assert [worker["rank"] for worker in workers] == [0, 1, 2]
    assert [worker["worker"] for worker in workers] == ["w1", "w2", "w3"]
    assert all(worker["state"] == "training" and is_alive(worker["pid"]) for worker in workers)
    assert len({worker["pid"] for worker in workers}) == 3
    assert all(0 <= worker["step"] <= STEPS for worker in workers)
    wait_until(
        lambda: sorted(shard for w in job.status().workers for shard in w.shards) == list(range(8)),
        "all 8 shards are dealt",
    )
    events = json.loads(lab("events", job.name, "--json").stdout)
    assert [event["kind"] for event in events][:2] == ["job_started", "generation_founded"]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    (joined,) = [event for event in events if event["kind"] == "workers_joined"]
    assert (joined["workers_before"], joined["workers_after"]) == (2, 3)
    before = job.status().step
    ended = job.stop()
    steps = ended.report["steps"]
    assert before <= steps < STEPS
    assert ended.report["state"] == "stopped"
    assert_same_bits(ended.trace, reference)
    assert_exactly_once(ended.trace, reference, steps=steps)
    # A stop is at a boundary: everybody has done the same last step.
    assert {max(digests) for digests in ended.trace.digests.values()} == {steps - 1}
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]
    assert ended.kinds[-3:] == ["stop_requested", "checkpoint_written", "job_stopped"]


def test_ctrl_c_stops_at_a_boundary(lab, tmp_path, reference):
    job = start(lab, tmp_path, 3)
    job.process.send_signal(signal.SIGINT)
    ended = job.end(5)
    assert "Stopping at the next step boundary" in ended.out + ended.error
    assert {max(digests) for digests in ended.trace.digests.values()} == {ended.report["steps"] - 1}
    assert_same_bits(ended.trace, reference)


def test_a_second_ctrl_c_ends_at_once(lab, tmp_path):
    job = start(lab, tmp_path, 2)
    job.hold("shard", "w1")  # no boundary will come
    job.wait_held("shard", "w1")
    job.process.send_signal(signal.SIGINT)
    job.wait_event("stop_requested")
    job.process.send_signal(signal.SIGINT)
    ended = job.end(130)
    assert "Stopping at once" in ended.out + ended.error


def test_stop_now_ends_a_job_that_hangs(lab, tmp_path):
    job = start(lab, tmp_path, 2)
    job.hold("shard", "w2")
    job.wait_held("shard", "w2")
    assert lab("stop", job.name, "--now").returncode == 0
    assert job.end(5).report["state"] == "stopped"


def test_stop_while_a_newcomer_starts_and_a_worker_leaves(lab, tmp_path, reference):
    job = start(lab, tmp_path, 2)
    job.hold("start", "w3")
    job.scale(3)
    job.wait_held("start", "w3")
    job.signal("w1", signal.SIGTERM)
    ended = job.stop()
    assert_same_bits(ended.trace, reference)


@pytest.mark.few(0)
def test_stop_before_anything_was_trained(lab, tmp_path):
    job = lab.run(tmp_path, "train.py", "--steps", STEPS, workers="1:3", start=2)
    job.wait(lambda status: status.state == "starting", "the job is there")
    ended = job.stop()
    assert ended.report["steps"] in range(STEPS)
    assert ended.kinds[-1] == "job_stopped"


def test_training_goes_on_without_its_coordinator(own_lab, tmp_path, reference):
    job = start(own_lab, tmp_path, 2)
    pids = [worker.pid for worker in job.wait_workers(2)]
    coordinator = own_lab.coordinator
    os.kill(coordinator, signal.SIGKILL)
    wait_until(lambda: not is_alive(coordinator), "the coordinator is gone")
    steps = read_traces(job.out).steps
    wait_until(lambda: read_traces(job.out).steps >= steps + 10, "ten more steps without a coordinator")
    assert all(is_alive(pid) for pid in pids)
    assert_same_bits(read_traces(job.out), reference)
    # Nothing takes such a job up again yet: end what is left of it.
    agent = [pid for pid, command in job.processes().items() if "pliant.backends.agent" in command]
    assert agent
    began_s = time.monotonic()
    for pid in agent:
        os.kill(pid, signal.SIGTERM)
    job.assert_no_process(but=job.process.pid)
    assert time.monotonic() - began_s < 20
