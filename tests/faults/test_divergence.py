"""One worker computes something else than the others, without any error: found at the next comparison, and stopped."""

import pytest
from elastic_books import assert_same_bits
from elastic_lab import LONGEST

EVERY = 10
AT = 12


@pytest.mark.parametrize(
    ("plant", "workers", "said"),
    [("flip", 3, "w2 deviates from w1 and w3 in model.0.weight"), ("order", 2, "w1 and w2 disagree")],
)
def test_a_worker_that_diverges_stops_the_job(lab, tmp_path, plant, workers, said):
    job = lab.run(
        tmp_path,
        "diverging.py",
        "--plant",
        plant,
        "--at",
        AT,
        workers=workers,
        **{"check-every": EVERY},
    )
    ended = job.end(7)
    assert ended.trace.noted("fired") == [AT]
    assert "the workers have diverged: before step 20" in ended.error
    assert said in ended.error
    assert "model.0.weight" in ended.error
    assert "They last agreed before step 10" in ended.error
    assert "pliant verify" in ended.error
    # Nobody trained on, and nobody was thought lost. (The main worker's last commits may come later than the news.)
    assert ended.report["steps"] <= 20
    assert max(ended.trace.noted("done")) == 19
    assert ended.report["state"] == "failed"
    (event,) = ended.events("workers_diverged")
    assert "before step 20" in event["message"]
    assert "model.0.weight" in event["message"]
    assert ended.events("worker_lost") == []


@pytest.mark.few(0)
def test_workers_that_come_and_go_are_no_divergence(lab, tmp_path, undisturbed):
    """Compared before every single step, through a join, a kill, a replacement, and a leave."""
    reference = undisturbed("train.py", "--steps", LONGEST)
    plan = [
        {"at_step": 3, "scale": 3},
        {"at_step": 20, "kill": 1},
        {"at_step": 35, "leave": 1},
        {"at_step": 50, "kill": 1},
    ]
    job = lab.run(tmp_path, "train.py", "--steps", 70, "--delay", 0.01, workers="1:4", plan=plan, **{"check-every": 1})
    ended = job.end()
    assert_same_bits(ended.trace, reference)
    assert len(ended.events("worker_lost")) == 2
    assert ended.events("workers_joined")
    assert ended.events("worker_left") + ended.events("workers_shrunk")
    assert ended.events("workers_diverged") == []
    assert 69 in ended.trace.noted("agreed"), "two workers trained at the end, so the last step was compared"
