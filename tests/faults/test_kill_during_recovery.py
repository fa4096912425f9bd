"""A second worker dies while the job recovers from the death of a first one, at each stage of that recovery."""

from elastic_lab import wait_until
from fault_checks import check, go_on

from pliant.testing.processes import is_alive


def test_kill_before_the_answer_in_the_comparison_and_in_inherited_work(start, reference):
    job = start(4)
    # w2 is frozen when w3 dies: the recovery waits for its answer.
    job.hang("w2")
    job.kill("w3")
    job.wait_event("worker_lost")
    job.kill("w2")
    go_on(job, 4)  # w1, w4, w5, w6

    # w5 has told where it stands to one of its two peers, in the first exchange of the generation after w6's death.
    assert [worker.worker for worker in job.wait_workers(4)][:3] == ["w1", "w4", "w5"]
    job.hold("exchange-to-1", "w5")
    job.kill("w6")
    job.wait_held("exchange-to-1", "w5")
    job.kill("w5")
    go_on(job, 4)  # w1, w4, w7, w8

    # w8 dies in a step; the others have done their own shards, so the next one that w7 sees is inherited.
    job.hold("shard", "w8")
    job.wait_held("shard", "w8")
    job.hold("shard", "w7")
    job.kill("w8")
    job.wait_held("shard", "w7")
    job.kill("w7")
    go_on(job, 4)
    ended = job.stop()
    events = check(ended, reference, lost=["w2", "w3", "w5", "w6", "w7", "w8"])
    assert all(events[worker]["shards_recomputed"] > 0 for worker in ("w7", "w8"))


def test_a_worker_that_does_not_answer_an_interrupt_is_expelled_and_killed(start, reference):
    job = start(3, patience=1.5)
    frozen = job.worker("w2").pid
    job.hang("w2")
    job.kill("w3")
    wait_until(lambda: not is_alive(frozen), "the frozen worker is killed")
    go_on(job, 3)
    ended = job.stop()
    check(ended, reference, lost=["w2", "w3"], how="")
    assert [event["message"].partition(" ")[0] for event in ended.events("worker_silent")] == ["w2"]
