"""Histories from plan files: a written one, and random ones with their seed in the test's name."""

import random

import pytest
from elastic_books import assert_epochs_complete, assert_exactly_once, assert_same_bits
from elastic_lab import LONGEST

SIZE = 303
MOST = 5


def random_plan(seed, *, steps, events):
    """Scales, kills and leaves; two workers at least, so that a kill never takes the last one."""
    draw = random.Random(seed)
    plan = [{"at_step": 2, "scale": 4}]
    for at_step in sorted(draw.sample(range(8, steps - 10), events)):
        last_was_kill = "kill" in plan[-1]
        kind = draw.choice(["scale", "leave"] if last_was_kill else ["scale", "kill", "kill", "leave"])
        plan.append({"at_step": at_step, kind: draw.randint(2, MOST) if kind == "scale" else 1})
    return plan


def check(ended, reference, plan, *, steps):
    assert ended.report["steps"] == steps
    assert_same_bits(ended.trace, reference)
    assert ended.report["weights_sha256"] == reference.at(steps - 1)[0]
    lost = ended.events("worker_lost")
    recomputed = sum(event["shards_recomputed"] for event in lost)
    assert_exactly_once(ended.trace, reference, steps=steps, recomputed=recomputed)
    assert_epochs_complete(ended.trace, size=SIZE, epochs=steps // 7)
    assert ended.report["samples"] == steps // 7 * SIZE
    assert ended.events("plan_unreached") == []
    assert len(ended.events("plan_signal")) == sum("scale" not in event for event in plan)
    assert ended.events("plan_refused") == []
    assert len(lost) >= sum("kill" in event for event in plan)


def test_grow_kill_shrink_grow(lab, tmp_path, undisturbed):
    reference = undisturbed("train.py", "--steps", LONGEST)
    plan = [
        {"at_step": 5, "scale": 3},
        {"at_step": 25, "kill": 1},
        {"at_step": 45, "scale": 2},
        {"at_step": 60, "scale": 3},
    ]
    ended = lab.run(tmp_path, "train.py", "--steps", 84, "--delay", 0.01, workers="1:4", plan=plan).end()
    check(ended, reference, plan, steps=84)
    assert ended.events("workers_shrunk")
    assert all(
        event["stall_s"] is not None for kind in ("workers_joined", "worker_lost") for event in ended.events(kind)
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_history(lab, tmp_path, undisturbed, seed):
    steps = 119
    reference = undisturbed("train.py", "--steps", LONGEST)
    plan = random_plan(seed, steps=steps, events=7)
    print("plan:", plan)
    job = lab.run(tmp_path, "train.py", "--steps", steps, "--delay", 0.01, workers=f"2:{MOST}", start=3, plan=plan)
    check(job.end(), reference, plan, steps=steps)
