"""Schedules on a worker that computes only some of the steps: the rate of a step is that of an undisturbed run."""

import random

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, LinearLR, OneCycleLR, SequentialLR

from pliant.training.schedules import Progress, Schedules
from pliant.transfer.spec import decode, encode

STEPS = 30
MAKERS = {
    "lambda": lambda each: LambdaLR(each, lambda step: 0.9**step),
    "one cycle": lambda each: OneCycleLR(each, max_lr=1.0, total_steps=STEPS + 1),
    "restarts": lambda each: CosineAnnealingWarmRestarts(each, T_0=7),
    "sequence": lambda each: SequentialLR(
        each, [LinearLR(each, 0.1, total_iters=5), LambdaLR(each, lambda step: 0.8**step)], milestones=[5]
    ),
}


def made(maker):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)
    return optimizer, maker(optimizer)


def body(optimizer, scheduler):
    rate = optimizer.param_groups[0]["lr"]
    optimizer.step()
    scheduler.step()
    return rate


def rates_of_all(maker):
    optimizer, scheduler = made(maker)
    return [body(optimizer, scheduler) for _ in range(STEPS)]


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("seed", range(5))
def test_a_step_has_its_rate_whatever_was_computed_here_before(maker, seed):
    expected = rates_of_all(maker)
    dice = random.Random(seed)
    optimizer, scheduler = made(maker)
    schedules = Schedules({"schedule": scheduler, "optimizer": optimizer}, Progress())
    steps = sorted(dice.choices(range(STEPS), k=20))  # some left out, some several times
    for _ in range(5):  # and some that another worker has lost
        steps.insert(dice.randrange(5, len(steps)), dice.randrange(5))
    for step in steps:
        schedules.body_begins(step)
        assert body(optimizer, scheduler) == pytest.approx(expected[step], rel=1e-9)
        schedules.body_ends(step)


def test_one_that_is_stepped_elsewhere_is_left_alone():
    optimizer, scheduler = made(MAKERS["lambda"])
    schedules = Schedules({"schedule": scheduler}, Progress())
    for epoch in range(3):
        for step in (4, 9):
            schedules.body_begins(10 * epoch + step)
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedules.body_ends(10 * epoch + step)
            assert rate == pytest.approx(0.5 * 0.9**epoch) or (epoch, step) == (0, 4)
        scheduler.step()


def test_a_newcomer_goes_on_from_what_the_others_have_done():
    expected = rates_of_all(MAKERS["lambda"])
    optimizer, scheduler = made(MAKERS["lambda"])
    for _ in range(12):
        body(optimizer, scheduler)  # as the main worker had it after step 11
    schedules = Schedules({"schedule": scheduler}, Progress(11))
    schedules.body_begins(20)
    assert body(optimizer, scheduler) == pytest.approx(expected[20])


def test_a_newcomer_goes_back_to_a_step_before_it_came():
    expected = rates_of_all(MAKERS["sequence"])
    optimizer, scheduler = made(MAKERS["sequence"])
    first = Schedules({"schedule": scheduler}, Progress())
    for step in range(12):
        first.body_begins(step)
        body(optimizer, scheduler)
        first.body_ends(step)
    encoded = encode({"state": scheduler.state_dict(), "progress": first.progress.plain()})
    there = decode(encoded.meta, encoded.tensors)
    rate = optimizer.param_groups[0]["lr"]
    optimizer, scheduler = made(MAKERS["sequence"])
    scheduler.load_state_dict(there["state"])
    optimizer.param_groups[0]["lr"] = rate
    schedules = Schedules({"schedule": scheduler}, Progress(**there["progress"]))
    for step in (11, 12, 3, 13, 8, 2, 20):
        schedules.body_begins(step)
        assert body(optimizer, scheduler) == pytest.approx(expected[step]), step
        schedules.body_ends(step)


def test_one_that_wants_a_metric_is_never_stepped():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    schedules = Schedules({"schedule": scheduler}, Progress())
    for step in (3, 9):
        schedules.body_begins(step)
        schedules.body_ends(step)
    assert schedules.progress.in_body == [False]


def test_a_newcomer_knows_which_ones_the_body_steps():
    optimizer, scheduler = made(MAKERS["lambda"])
    schedules = Schedules({"schedule": scheduler}, Progress(5, [False]))
    schedules.body_begins(8)
    assert optimizer.param_groups[0]["lr"] == 0.5
