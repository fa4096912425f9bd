"""The same bits at any number of workers, and the same as under plain ``python script.py``."""

import pytest
from elastic_books import assert_epochs_complete, assert_exactly_once, assert_same_bits
from elastic_lab import LONGEST

STEPS = 14
"""Two epochs; the last batch of each is uneven and has empty shards."""
SIZE = 303


@pytest.mark.few(3)
@pytest.mark.parametrize("workers", [3, 8, 1, 2, 5, 4, 6, 7])
def test_undisturbed(lab, tmp_path, undisturbed, workers):
    reference = undisturbed("train.py", "--steps", LONGEST)
    ended = lab.run(tmp_path, "train.py", "--steps", STEPS, workers=f"1:{workers}", start=workers).end()
    assert len(ended.trace.shards) == workers, "not every worker computed something"
    assert all(len(digests) == STEPS for digests in ended.trace.digests.values())
    assert_same_bits(ended.trace, reference)
    assert_exactly_once(ended.trace, reference, steps=STEPS)
    assert_epochs_complete(ended.trace, size=SIZE, epochs=2)
    weights = reference.at(STEPS - 1)[0]
    assert set(ended.trace.noted("weights")) == {weights}
    report = ended.report
    assert report["weights_sha256"] == weights
    assert (report["state"], report["steps"], report["samples"]) == ("finished", STEPS, 2 * SIZE)
    assert len(report["commit_times_s"]) == len(report["losses"]) == STEPS
    assert report["final_loss"] == report["losses"][-1]
    assert 0 < report["median_step_s"] < report["wall_s"]
    assert 0 < report["goodput"] <= 1
    assert report["workers_over_time"] == [[pytest.approx(0, abs=1.0), workers]]
    assert weights in ended.error
