"""A worker dies when the full gradient is there: the step is committed by all survivors, and nothing is done again."""

from elastic_lab import wait_until
from fault_checks import check, go_on, last_steps


def test_kill_between_reduction_and_commit_and_when_some_have_committed(start, reference):
    job = start(3)
    between = kill_with_full_gradients(job)
    # One of the victim's two acknowledgements has arrived: the last rank's, then rank 0's; w4 came for w3.
    split = [
        kill_with_one_ahead(job, "w4", "ack-to-1", ahead="w1", behind="w2"),
        kill_with_one_ahead(job, "w1", "ack-to-2", ahead="w2", behind="w5"),
    ]
    ended = job.stop()
    events = check(ended, reference, lost=["w3", "w4", "w1"])
    assert events["w3"]["shards_recomputed"] == 0
    assert sum(between in digests for digests in ended.trace.digests.values()) == 2
    # Whoever was one step behind has committed that step nonetheless, with the same bits.
    for pid, step in split:
        assert ended.trace.digests[pid][step] == reference.at(step)


def kill_with_full_gradients(job):
    """All have the full gradient, and nobody has everybody's acknowledgement; returns the step."""
    holds = {"w1": "ack-to-2", "w2": "ack-to-2", "w3": "ack-to-0"}
    for worker, phase in holds.items():
        job.hold(phase, worker)
    for worker, phase in holds.items():
        job.wait_held(phase, worker)
    (before,) = set(last_steps(job, *holds))
    job.kill("w3")
    for worker in ("w1", "w2"):
        job.release(holds[worker], worker)
    go_on(job, 3)
    return before + 1


def kill_with_one_ahead(job, victim, phase, *, ahead, behind):
    """``ahead`` has committed and begins the next step; returns the pid of ``behind`` and the step that it lacks."""
    assert {worker.worker for worker in job.wait_workers(3)} == {victim, ahead, behind}
    job.hold(phase, victim)
    job.wait_held(phase, victim)

    def apart():
        first, second = last_steps(job, ahead, behind)
        return first if first == second + 1 else None

    step = wait_until(apart, f"{ahead} has committed and {behind} has not")
    job.kill(victim)
    pid = job.worker(behind).pid
    go_on(job, 3)
    return pid, step
