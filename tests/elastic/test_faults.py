"""Workers die by SIGKILL in the middle of training: nothing is lost, nothing computed again in vain."""

import signal

import pytest
from elastic_books import assert_exactly_once, assert_same_bits
from elastic_lab import is_alive, wait_until

STEPS = 300
DELAY = ("--delay", 0.04)


@pytest.fixture
def reference(undisturbed):
    return undisturbed("train.py", "--steps", STEPS)


@pytest.fixture
def start(lab, tmp_path):
    def begin(count, *, low=1, high=4, **options):
        job = lab.run(tmp_path, "train.py", "--steps", STEPS, *DELAY, workers=f"{low}:{high}", start=count, **options)
        job.wait_workers(count)
        return job

    return begin


def kill(job, *workers):
    """SIGKILL, and the fault has fired: the pids are gone, and the job knows."""
    pids = [job.signal(worker) for worker in workers]
    for worker, pid in zip(workers, pids, strict=True):
        wait_until(lambda pid=pid: not is_alive(pid), f"{worker} (pid {pid}) is gone")
    job.wait(lambda s: {w.worker for w in s.workers}.isdisjoint(workers), f"the job knows that {workers} are gone")


def check(ended, reference, *, lost, ahead=0):
    """Same bits, exactly once, and every death has its event with plausible numbers.

    ``ahead``: shards that a worker may have begun in a step which no survivor had begun when it died.
    """
    steps = ended.report["steps"]
    assert_same_bits(ended.trace, reference)
    assert steps == ended.trace.steps
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]
    events = ended.events("worker_lost")
    assert sorted(event["message"].partition(",")[0] for event in events) == sorted(lost)
    for event in events:
        assert "SIGKILL" in event["message"]
        assert event["workers_after"] < event["workers_before"] or event["workers_before"] == 1
        assert 0 <= event["stall_s"] < ended.report["wall_s"]
        assert 0 <= event["shards_recomputed"] <= 8
    recomputed = sum(event["shards_recomputed"] for event in events)
    # A shard that the dead had begun, and its survivors' recomputation of it, are both in the books.
    assert_exactly_once(ended.trace, reference, steps=steps, recomputed=recomputed + ahead)
    return events


def test_kill_of_a_middle_rank_then_of_rank_0_then_of_two_at_once(start, reference):
    job = start(3)
    for victims in (["w2"], ["w1"], ["w3", "w5"]):  # w4 and w5 came for w2 and w1
        job.hold("shard", victims[0])  # so that it dies inside a step, with shards not done
        job.wait_held("shard", victims[0])
        ranks = {worker.worker: worker.rank for worker in job.wait_workers(3)}
        assert [ranks[victim] for victim in victims] == {"w2": [1], "w1": [0], "w3": [0, 2]}[victims[0]]
        kill(job, *victims)
        after = job.wait_workers(3)
        assert {worker.worker for worker in after}.isdisjoint(victims)
        job.wait_step(job.status().step + 3)
    ended = job.stop()
    events = check(ended, reference, lost=["w2", "w1", "w3", "w5"])
    assert all(event["shards_recomputed"] > 0 for event in events)
    joined = ended.events("workers_joined")
    assert len(joined) >= 3
    assert all(event["bytes_moved"] > 0 and event["stall_s"] is not None for event in joined)
    assert joined[-1]["workers_after"] == 3


def test_kill_of_all_but_one(start, reference):
    job = start(4)
    job.wait_step(3)
    kill(job, "w1", "w2", "w4")
    job.wait_workers(4)
    job.wait_step(job.status().step + 3)
    check(job.stop(), reference, lost=["w1", "w2", "w4"])


def test_kill_of_all_loses_the_job_and_says_so(start):
    job = start(2)
    job.wait_step(2)
    kill(job, "w1", "w2")
    ended = job.end(4)
    assert ended.report["state"] == "failed"
    assert len(ended.events("worker_lost")) == 2
    assert "no worker that holds the job's state is left" in ended.error


def test_kill_right_after_a_scale_command(start, reference):
    job = start(2)
    job.scale(4)
    kill(job, "w2")
    job.wait_workers(4)
    job.scale(2)
    kill(job, "w1")
    job.wait_workers(2)
    job.wait_step(job.status().step + 3)
    ended = job.stop()
    check(ended, reference, lost=["w2", "w1"])
    assert len(ended.events("scale_requested")) == 2


def test_newcomers_killed_on_their_way_in(start, reference):
    job = start(2)
    ways = {"w3": "start", "w4": "rehearsal", "w5": "load"}
    for worker, phase in ways.items():
        job.hold(phase, worker)
    job.scale(3)
    for worker, phase in ways.items():
        job.wait_held(phase, worker)
        kill(job, worker)
    job.wait_workers(3)
    job.wait_step(job.status().step + 3)
    ended = job.stop()
    check(ended, reference, lost=["w5"])  # it had entered its generation: the others had to go on without it
    assert [event["message"].partition(" ")[0] for event in ended.events("newcomer_lost")] == ["w3", "w4"]


def test_newcomer_killed_when_it_is_ready(start, reference):
    """The only member is inside a step, so the new generation stands but nobody has switched to it."""
    job = start(1)
    job.hold("shard", "w1")
    job.wait_held("shard", "w1")
    job.scale(2)
    job.wait(lambda s: any(w.worker == "w2" and w.state == "ready" for w in s.workers), "w2 is ready")
    kill(job, "w2")
    job.wait_event("newcomer_lost")
    job.release("shard", "w1")
    job.wait_workers(2)
    job.wait_step(job.status().step + 3)
    check(job.stop(), reference, lost=[])


@pytest.mark.parametrize("victim", ["w1", "w2", "w3"], ids=["a source", "the other source", "the newcomer"])
def test_kill_while_the_newcomer_receives_the_state(start, reference, victim):
    """w1 is held while it reads its state; w2 has sent its part, w3 waits for w1's."""
    job = start(2)
    job.hold("state", "w1")
    job.scale(3)
    job.wait_held("state", "w1")
    kill(job, victim)
    job.release("state", "w1")
    job.wait_workers(3)
    job.wait_step(job.status().step + 3)
    ended = job.stop()
    if victim == "w3":
        assert_same_bits(ended.trace, reference)
        assert len(ended.events("newcomer_lost") + ended.events("worker_lost")) == 1
    else:
        check(ended, reference, lost=[victim], ahead=8)


def test_kill_during_recovery(start, reference):
    """w2 is frozen when w3 dies, so the recovery waits for its answer; then w2 dies as well."""
    job = start(3)
    pid = job.signal("w2", signal.SIGSTOP)
    kill(job, "w3")
    job.wait_event("worker_lost")
    assert is_alive(pid)
    kill(job, "w2")
    job.wait_workers(3)
    job.wait_step(job.status().step + 3)
    check(job.stop(), reference, lost=["w2", "w3"])


def test_kill_while_inherited_shards_are_computed(start, reference):
    job = start(3)
    job.hold("shard", "w3")
    job.wait_held("shard", "w3")
    # The others have their own shards and wait for w3; the next one that w2 sees is inherited.
    job.hold("shard", "w2")
    kill(job, "w3")
    job.wait_held("shard", "w2")
    kill(job, "w2")
    job.wait_workers(3)
    job.wait_step(job.status().step + 3)
    events = check(job.stop(), reference, lost=["w2", "w3"])
    assert all(event["shards_recomputed"] > 0 for event in events)


def test_silent_worker_is_killed_after_the_patience(start, reference):
    job = start(3, patience=1.5)
    frozen = job.signal("w2", signal.SIGSTOP)
    kill(job, "w3")
    wait_until(lambda: not is_alive(frozen), "the frozen worker is killed")
    job.wait_workers(3)
    job.wait_step(job.status().step + 3)
    ended = job.stop()
    check(ended, reference, lost=["w2", "w3"])
    assert ended.events("worker_silent")
