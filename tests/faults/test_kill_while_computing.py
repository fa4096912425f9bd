"""A worker dies while it computes a shard: its shards are computed by the others, in the same step."""

from fault_checks import check, go_on


def test_kill_of_a_middle_rank_then_of_rank_0_then_of_two_at_once(start, reference):
    job = start(3)
    for victims in (["w2"], ["w1"], ["w3", "w5"]):  # w4 and w5 came for w2 and w1
        job.hold("shard", victims[0])  # so that it dies inside a step, with shards not done
        job.wait_held("shard", victims[0])
        ranks = {worker.worker: worker.rank for worker in job.wait_workers(3)}
        assert [ranks[victim] for victim in victims] == {"w2": [1], "w1": [0], "w3": [0, 2]}[victims[0]]
        job.kill(*victims)
        after = job.wait_workers(3)
        assert {worker.worker for worker in after}.isdisjoint(victims)
        go_on(job, 3)
    ended = job.stop()
    events = check(ended, reference, lost=["w2", "w1", "w3", "w5"])
    assert all(event["shards_recomputed"] > 0 for event in events.values())
    joined = ended.events("workers_joined")
    assert len(joined) >= 3
    assert all(event["bytes_moved"] > 0 and event["stall_s"] is not None for event in joined)
    assert joined[-1]["workers_after"] == 3
