"""Workers that do not wait for each other: every sample of an epoch is learned from once, every push applied once."""

import json
import os
import signal

import pytest
from elastic_books import read_traces
from elastic_lab import wait_until

SAMPLES, EPOCHS, STEPS = 230, 4, 40
LEASED = {"strategy": "parameter-server", "servers": "2:3", "staleness": "none"}


def assert_counted_once(trace):
    """On every worker that came to the end: each weight says how often its sample was learned from."""
    counts = trace.noted("counts")
    assert counts
    for one, two, rows in counts:
        assert one == [-EPOCHS] * SAMPLES
        assert two == [[-EPOCHS] * 3] * SAMPLES
        assert rows == [[-EPOCHS] * 2] * SAMPLES


def assert_books(trace, *, newcomers=0):
    """Exact means after two epochs each, and schedules that go by the steps."""
    assert set(trace.noted("mean")) == {-EPOCHS / 2, -EPOCHS}
    rates = trace.noted("rate")
    assert {step for step, _ in rates} == set(range(STEPS))
    wrong = [rate for step, rate in rates if rate != 1 / (1 + step)]
    assert wrong == [1.0] * len(wrong), "not even a newcomer's rehearsal, which has a schedule of its own"
    assert len(wrong) <= newcomers


@pytest.mark.few(1)
@pytest.mark.parametrize("staleness", ["none", 0])
def test_each_sample_counts_once(lab, tmp_path, staleness):
    job = lab.run(tmp_path, "counting.py", workers="3:3", start=3, **{**LEASED, "staleness": staleness})
    ended = job.end()
    assert_counted_once(ended.trace)
    assert_books(ended.trace)
    assert len(ended.trace.noted("counts")) == 3
    assert len(ended.trace.noted("learned")) == STEPS * 4, "a shard was computed twice, or not at all"
    pushed = [numbers for _, _, numbers in ended.trace.noted("learned") if numbers]
    assert sum(ended.report["pushes_by_staleness"].values()) == len(pushed)
    assert len(ended.report["losses"]) == STEPS


def test_workers_and_servers_die_come_and_go_meanwhile(lab, tmp_path):
    job = lab.run(tmp_path, "counting.py", "--delay", 0.02, workers="1:4", start=3, **LEASED)
    job.wait_workers(3)
    job.pass_steps(2)
    job.hold("shard", "w1")  # it has gradients that no server has seen
    job.hold("between", "w2")  # one of its two optimizers has been stepped
    job.wait_held("shard", "w1")
    job.wait_held("between", "w2")
    job.kill("w1", "w2")
    job.wait_workers(3)
    job.kill("s1")
    job.wait_event("slots_restored")
    job.pass_steps(2)
    job.scale_servers(3)
    job.wait_servers(3)
    job.scale(4)
    job.wait_workers(4)
    job.pass_steps(1)
    job.leave("w3")
    job.kill("s2")
    ended = job.end()
    assert_counted_once(ended.trace)
    assert_books(ended.trace, newcomers=4)
    assert {"worker_lost", "server_lost"} <= set(ended.kinds)


def test_a_slow_worker_is_waited_for_only_as_far_as_the_staleness_says(lab, tmp_path):
    """It is held in a step for good, until the other has done all that it may: three steps more."""
    job = lab.run(tmp_path, "counting.py", workers="2:2", start=2, **{**LEASED, "staleness": 3})
    job.wait_workers(2)
    job.hold("shard", "w2")
    job.wait_held("shard", "w2")
    job.wait(lambda _: _may_do_no_more(job), "w1 has done all that it may")
    job.release("shard", "w2")
    ended = job.end()
    assert len(ended.trace.noted("learned")) == STEPS * 4
    assert_counted_once(ended.trace)


def _may_do_no_more(job):
    steps = [step for step, _, _ in job.books().noted("learned")]
    held = next(step for step in range(STEPS) if steps.count(step) < 4)
    return len(steps) == 4 * (held + 1 + 3) - 1


def test_stop_and_resume_in_this_mode_and_then_synchronously(own_lab, tmp_path):
    job = own_lab.run(tmp_path, "counting.py", "--delay", 0.02, workers="1:3", start=2, **LEASED)
    job.wait_step(6)
    job.stop()
    assert len(job.books().noted("learned")) < STEPS * 4
    report = tmp_path / "resumed.json"
    done = own_lab("resume", job.name, "--workers", "3", "--no-live", "--report", report)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["state"] == "finished"
    trace = read_traces(job.out)
    assert_counted_once(trace)
    assert len(trace.noted("learned")) == STEPS * 4


def test_all_workers_dead_goes_on_from_the_last_checkpoint(own_lab, tmp_path):
    job = own_lab.run(
        tmp_path, "counting.py", "--delay", 0.05, workers="1:3", start=2, checkpoint_every=3,
        checkpoints=tmp_path / "saved", **LEASED,
    )  # fmt: skip
    job.wait(lambda _: (tmp_path / "saved" / "step-00000006").exists(), "the second checkpoint is written")
    job.kill_all()
    ended = job.end()
    assert_counted_once(ended.trace)
    assert ended.events("job_resumed")
    assert ended.report["steps"] == STEPS


def test_a_worker_that_hangs_with_half_a_push_and_wakes_does_no_harm(lab, tmp_path):
    job = lab.run(tmp_path, "counting.py", "--delay", 0.02, workers="1:3", start=3, patience=2, **LEASED)
    job.wait_workers(3)
    job.hold("between", "w2")
    job.wait_held("between", "w2")
    pid = job.worker("w2").pid
    job.hang("w2")
    job.release("between", "w2")
    job.wait_event("worker_silent")
    os.kill(pid, signal.SIGCONT)
    ended = job.end()
    assert_counted_once(ended.trace)
    assert "expelled_ended" in ended.kinds


def test_the_coordinator_is_not_needed_for_training_to_go_on(own_lab, tmp_path):
    job = own_lab.run(tmp_path, "counting.py", "--delay", 0.05, workers="1:3", start=2, **LEASED)
    job.wait_step(2)
    job.kill_coordinator()
    learned = len(job.books().noted("learned"))
    wait_until(lambda: len(job.books().noted("learned")) > learned + 20, "training goes on")
    own_lab.up()
    job.scale(3)
    job.wait_workers(3)
    ended = job.end()
    assert_counted_once(ended.trace)


def test_one_worker_leaves_the_loop_and_all_go_on_behind_it(lab, tmp_path):
    ended = lab.run(tmp_path, "leaving.py", workers="3:3", start=3, **LEASED).end()
    after = ended.trace.noted("after")
    assert len(after) == 6
    assert len({tuple(each) for each in after}) == 2, "the workers are at different steps, or have other weights"
    assert all(reached > enough for (reached, _), enough in zip(sorted(after), [5, 5, 5, 23, 23, 23], strict=True))
    assert len(set(ended.trace.noted("weights"))) == 1
    assert {epoch for epoch, number in ended.trace.noted("learned") if number > min(after)[0]} == {1}, "a new epoch"
