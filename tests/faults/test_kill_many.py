"""Several workers die at once, also while the number of workers changes: the job goes on from any one that is left."""

from elastic_books import assert_exactly_once, assert_same_bits


def test_kill_after_scale_commands_then_of_all_but_one_then_of_all(start, reference):
    job = start(2)
    job.scale(4)
    job.kill("w2")
    assert {"w1", "w3", "w4", "w5"} == {worker.worker for worker in job.wait_workers(4)}
    job.kill("w1", "w3", "w5")
    job.wait_workers(4)
    job.scale(2)
    job.kill(rank=0)
    job.wait_workers(2)
    job.pass_steps(3)
    assert len(job.events("worker_lost")) == 5
    assert len(job.events("scale_requested")) == 2
    assert len(job.kill_all()) == 2
    ended = job.end(4)
    assert ended.report["state"] == "failed"
    lost = ended.events("worker_lost")
    assert len(lost) == 7
    assert "no worker that holds the job's state is left" in ended.error
    assert_same_bits(ended.trace, reference)
    recomputed = sum(event["shards_recomputed"] for event in lost[:5])
    assert_exactly_once(ended.trace, reference, steps=ended.trace.steps, recomputed=recomputed)
