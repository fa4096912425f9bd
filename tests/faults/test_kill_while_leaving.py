"""A worker that was asked to leave dies before it has left."""

import signal

from fault_checks import check, go_on


def test_kill_before_the_boundary_at_the_switch_and_after_it(start, reference):
    job = start(4)
    # w4 has asked to leave, and is in the last step that it has to take part in: its shards are computed again.
    job.hold("shard", "w4")
    job.wait_held("shard", "w4")
    job.signal("w4", signal.SIGTERM)
    job.wait(lambda status: status.target_workers == 3, "the job knows that w4 leaves")
    job.kill("w4")
    go_on(job, 3)

    # All have switched to the generation without w3, but nobody has entered it: it could still be called back.
    for worker, phase in (("w1", "exchange-to-1"), ("w2", "exchange-to-0"), ("w3", "await")):
        job.hold(phase, worker)
    job.signal("w3", signal.SIGTERM)
    for worker, phase in (("w1", "exchange-to-1"), ("w2", "exchange-to-0"), ("w3", "await")):
        job.wait_held(phase, worker)
    job.kill("w3")
    job.release("exchange-to-1", "w1")
    job.release("exchange-to-0", "w2")
    go_on(job, 2)

    # w1 trains on without w2, which has not ended yet: nobody is disturbed.
    job.hold("await", "w2")
    job.signal("w2", signal.SIGTERM)
    job.wait_held("await", "w2")
    job.wait_event("worker_left")
    job.kill("w2")
    go_on(job, 1)
    ended = job.stop()
    assert [event["workers_after"] for event in ended.events("worker_left")][-1] == 1
    events = check(ended, reference, lost=["w4", "w3"])
    assert events["w4"]["shards_recomputed"] > 0
