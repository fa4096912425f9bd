"""A worker dies in the middle of a reduction: nobody has the full gradient, so the step is finished without it."""

from elastic_lab import wait_until
from fault_checks import check, go_on, last_steps


def test_kill_before_partial_sums_are_sent_and_between_results(start, reference):
    job = start(3)
    # The first has sent none of its partial sums. The others have sent all of them; of their results one peer has
    # what it needs and the other has not. w4 and w5 come for those killed before.
    for victim, rank, phase in (("w3", 2, "part-to-0"), ("w4", 2, "result-to-1"), ("w1", 0, "result-to-2")):
        job.hold(phase, victim)
        job.wait_held(phase, victim)
        ranks = {worker.worker: worker.rank for worker in job.wait_workers(3)}
        assert ranks[victim] == rank
        wait_until(lambda ranks=ranks: len(set(last_steps(job, *ranks))) == 1, "all are in the step of the victim")
        job.kill(victim)
        go_on(job, 3)
    events = check(job.stop(), reference, lost=["w3", "w4", "w1"])
    assert all(event["shards_recomputed"] > 0 for event in events.values())
