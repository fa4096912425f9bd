"""A slow worker is no hung one: it stays, gets fewer shards by and by, and the bits are the same."""

import pytest
from elastic_books import assert_exactly_once, assert_same_bits
from elastic_lab import LONGEST

STEPS = LONGEST
PATIENCE_S = 1.0
SHARD_S = 0.05
"""With half of 8 shards, a worker 6 times slower takes longer for a step than the patience."""
PLAN = [{"at_step": 8, "slow": "{ workers = 1, factor = 6 }"}]


@pytest.mark.few(0)
def test_a_slow_worker_is_not_taken_for_a_hung_one_and_gets_fewer_shards(lab, tmp_path, undisturbed):
    reference = undisturbed("train.py", "--steps", STEPS)
    words = ["--steps", STEPS, "--delay", SHARD_S]
    job = lab.run(tmp_path, "train.py", *words, workers="2:2", patience=PATIENCE_S, plan=PLAN, deal="speed")
    job.wait_workers(2)
    job.wait(lambda status: [len(w.shards) for w in status.workers] == [4, 4], "an even deal")
    job.wait_event("plan_signal")
    job.wait(lambda status: len(status.workers[1].shards) in (0, 1), "w2 gets one shard or none")
    job.wait_step(job.status().step + 3)
    ended = job.stop()

    assert "slows down w2" in ended.events("plan_signal")[0]["message"]
    assert not {"worker_lost", "worker_silent", "plan_unreached"}.intersection(ended.kinds)
    assert len(ended.trace.shards) == 2, "nobody was replaced"
    steps = ended.report["steps"]
    assert_same_bits(ended.trace, reference)
    assert_exactly_once(ended.trace, reference, steps=steps)
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]
