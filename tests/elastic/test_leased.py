"""Workers that do not wait for each other: every sample of an epoch is learned from once, every push applied once."""

import json
import os
import signal

import pytest
from elastic_books import read_traces
from elastic_lab import wait_until

SAMPLES, EPOCHS, STEPS = 230, 4, 40
LEASED = {"strategy": "parameter-server", "servers": "2:3", "staleness": "none"}


def assert_counted_once(trace, *, epochs=EPOCHS):
    """On every worker that came to the end: each weight says how often its sample was learned from."""
    counts = trace.noted("counts")
    assert counts
    assert set(trace.noted("loops")) == {2}, "what the script does between loops was done once more on some worker"
    for one, two, rows in counts:
        assert one == [-epochs] * SAMPLES
        assert two == [[-epochs] * 3] * SAMPLES
        assert rows == [[-epochs] * 2] * SAMPLES


def assert_books(trace, *, epochs=EPOCHS, newcomers=0):
    """Exact means after each half of the epochs, and schedules that go by the steps."""
    assert set(trace.noted("mean")) == {-epochs / 2, -epochs}
    rates = trace.noted("rate")
    assert {step for step, _ in rates} == set(range(STEPS * epochs // EPOCHS))
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


@pytest.fixture
def begin(tmp_path):
    """Starts a job that is slow until ``hurry`` is called with what it returns, so that it ends behind all faults."""

    def run(lab, count, *, epochs=EPOCHS, **options):
        gate = tmp_path / "hurry"
        words = ("--epochs", epochs, "--slow-until", gate)
        job = lab.run(tmp_path, "counting.py", *words, workers="1:4", start=count, **{**LEASED, **options})
        job.wait_workers(count)
        job.hurry = gate.touch
        return job

    return run


def test_workers_and_servers_die_come_and_go_meanwhile(lab, begin):
    job = begin(lab, 3, epochs=12)
    job.pass_steps(1)
    job.hold("shard", "w1")  # it has gradients that no server has seen
    job.hold("between", "w2")  # one of its two optimizers has been stepped
    job.wait_held("shard", "w1")
    job.wait_held("between", "w2")
    job.kill("w1", "w2")
    job.wait_workers(3)
    job.kill("s1")
    job.wait_event("slots_restored")
    job.pass_steps(1)
    job.scale_servers(3)
    job.wait_servers(3)
    job.scale(4)
    job.wait_workers(4)
    job.leave("w3")
    job.kill("s2")
    job.wait_event("server_lost", count=2)
    job.hurry()
    ended = job.end()
    assert_counted_once(ended.trace, epochs=12)
    assert_books(ended.trace, epochs=12, newcomers=4)
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


@pytest.mark.few(0)
def test_stop_and_resume_with_more_workers(own_lab, begin, tmp_path):
    job = begin(own_lab, 2)
    job.wait_step(1)
    job.stop()
    assert len(job.books().noted("learned")) < STEPS * 4
    job.hurry()
    report = tmp_path / "resumed.json"
    done = own_lab("resume", job.name, "--workers", "3", "--no-live", "--no-page", "--report", report)
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["state"] == "finished"
    trace = read_traces(job.out)
    assert_counted_once(trace)
    assert len(trace.noted("learned")) == STEPS * 4


@pytest.mark.few(0)
def test_all_workers_dead_goes_on_from_the_last_checkpoint(own_lab, begin, tmp_path):
    saved = tmp_path / "saved"
    job = begin(own_lab, 2, checkpoint_every=2, checkpoints=saved)
    job.wait(lambda _: (saved / "step-00000004").exists(), "the second checkpoint is written")
    job.kill_all()
    job.hurry()
    ended = job.end()
    assert_counted_once(ended.trace)
    assert ended.events("job_resumed")
    assert ended.report["steps"] == STEPS


def test_a_worker_that_hangs_with_half_a_push_and_wakes_does_no_harm(lab, begin):
    job = begin(lab, 3, epochs=8, patience=2)
    job.hold("between", "w2")
    job.wait_held("between", "w2")
    pid = job.worker("w2").pid
    job.hang("w2")
    job.release("between", "w2")
    job.wait_event("worker_silent")
    os.kill(pid, signal.SIGCONT)
    job.wait_event("expelled_ended")
    job.hurry()
    assert_counted_once(job.end().trace, epochs=8)


def test_the_coordinator_is_not_needed_for_training_to_go_on(own_lab, begin):
    job = begin(own_lab, 2, epochs=8)
    job.kill_coordinator()
    learned = len(job.books().noted("learned"))
    wait_until(lambda: len(job.books().noted("learned")) > learned + 6, "training goes on")
    own_lab.up()
    job.scale(3)
    job.wait_workers(3)
    job.hurry()
    assert_counted_once(job.end().trace, epochs=8)


def test_one_worker_leaves_the_loop_and_all_go_on_behind_it(lab, tmp_path):
    ended = lab.run(tmp_path, "leaving.py", workers="3:3", start=3, **LEASED).end()
    after = ended.trace.noted("after")
    assert len(after) == 6
    assert len({tuple(each) for each in after}) == 2, "the workers are at different steps, or have other weights"
    assert all(reached > enough for (reached, _), enough in zip(sorted(after), [5, 5, 5, 23, 23, 23], strict=True))
    assert len(set(ended.trace.noted("weights"))) == 1
    assert {epoch for epoch, number in ended.trace.noted("learned") if number > min(after)[0]} == {1}, "a new epoch"


def test_an_error_in_one_workers_body_ends_nobody_elses_loop(lab, tmp_path):
    job = lab.run(tmp_path, "leaving.py", "--raises", "w2", workers="3:3", start=3, **LEASED)
    ended = job.end(exit_code=3)
    assert "on purpose" in ended.error + ended.out
    assert not ended.trace.noted("after"), "the others took it for the end of the loop"
