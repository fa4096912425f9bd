"""Several calls of steps and evaluate in one script, streams, and loader processes: elastic, and the same bits."""

import pytest
from elastic_books import assert_exactly_once, assert_same_bits
from elastic_lab import LONGEST

DELAY = ("--delay", 0.01)


def check(ended, reference, *, steps=None, recomputed=0):
    steps = reference.steps if steps is None else steps
    assert ended.report["steps"] == steps
    assert_same_bits(ended.trace, reference)
    assert_exactly_once(ended.trace, reference, steps=steps, recomputed=recomputed)
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]


def check_measured(ended, reference):
    """Whoever came to a measurement, early or in no time, got the very same numbers."""
    for phase in range(4):
        (expected,) = reference.noted(phase)
        found = ended.trace.noted(phase)
        assert found
        assert all(value == expected for value in found), f"phase {phase}: {found} instead of {expected}"


def test_newcomers_join_in_a_later_call(lab, tmp_path, undisturbed):
    reference = undisturbed("calls.py")
    job = lab.run(tmp_path, "calls.py", *DELAY, workers="1:3")
    job.hold("phase3", "w1")  # with the other loader than the first phase
    job.wait_held("phase3", "w1")
    job.scale(3)
    ready = ("w2", "w3")
    job.wait(lambda s: [w.worker for w in s.workers if w.state == "ready"] == list(ready), "both newcomers are ready")
    job.release("phase3", "w1")
    ended = job.end()
    check(ended, reference)
    check_measured(ended, reference)
    joined = ended.events("workers_joined")
    assert (joined[0]["workers_before"], joined[-1]["workers_after"]) == (1, 3)
    assert len(ended.trace.noted(0)) == 3, "the newcomers ran through the first phase as well"
    assert len({pid for pid, shards in ended.trace.shards.items() if any(step >= 36 for _, step, _ in shards)}) == 3


def test_a_newcomer_joins_in_a_measurement_and_a_worker_dies_in_one(lab, tmp_path, undisturbed):
    reference = undisturbed("calls.py")
    job = lab.run(tmp_path, "calls.py", *DELAY, workers="1:3", start=2)
    job.hold("evaluate", "w2")
    job.wait_held("evaluate", "w2")
    job.kill("w2")
    ended = job.end()
    check(ended, reference)
    check_measured(ended, reference)
    (lost,) = ended.events("worker_lost")
    assert lost["message"].startswith("w2")
    assert lost["shards_recomputed"] > 0


@pytest.mark.few(1)
@pytest.mark.parametrize(("script", "loaders"), [("stream.py", 1), ("train.py", 1), ("stream.py", 0)])
def test_streams_and_loader_processes(lab, tmp_path, undisturbed, script, loaders):
    steps = 77 if script == "train.py" else None
    reference = undisturbed(script, *(() if steps is None else ("--steps", LONGEST)))
    words = () if steps is None else ("--steps", steps)
    plan = [
        {"at_step": 3, "scale": 3},
        {"at_step": 25, "kill": 1},
        {"at_step": 40, "scale": 2},
        {"at_step": 50, "leave": 1},
    ]
    job = lab.run(tmp_path, script, *words, *DELAY, "--loaders", loaders, workers="1:4", start=2, plan=plan)
    ended = job.end()
    lost = ended.events("worker_lost")
    assert lost
    check(ended, reference, steps=steps, recomputed=sum(event["shards_recomputed"] for event in lost))
