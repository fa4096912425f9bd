import pytest
import torch
from optimizer_samples import (
    BOTH_DTYPES,
    ELEMENTWISE,
    FUSED,
    ByDimension,
    ByRow,
    CountsInGroup,
    CountsItself,
    Noisy,
    Normalised,
    Odd,
    OneState,
    Wrapped,
)
from torch import nn, optim

from pliant.errors import ConfigError
from pliant.parallel.servers.elementwise import check_elementwise


def params():
    return [nn.Parameter(torch.ones(5, 4)), nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(()))]


def refusal(optimizer):
    with pytest.raises(ConfigError) as caught:
        check_elementwise("opt", optimizer)
    message = str(caught.value)
    assert message.startswith(f"opt, of class {type(optimizer).__qualname__}, cannot run on parameter servers")
    assert "Use --strategy all-reduce" in message
    return message


@pytest.mark.parametrize(("name", "dtype"), BOTH_DTYPES, ids=str)
def test_elementwise_optimizers_may_be_cut(name, dtype):
    shapes = [(5, 4), (3,), (2, 2, 3, 3)]
    make = {**ELEMENTWISE, **FUSED}[name]
    check_elementwise("opt", make([nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in shapes]))


def test_parameters_of_several_dtypes_may_be_cut():
    dtypes = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
    check_elementwise("opt", optim.AdamW([nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in dtypes]))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (optim.LBFGS, "step() wants closure, to work on all parameters at once"),
        (optim.SparseAdam, "it raised RuntimeError: SparseAdam does not support dense gradients"),
        (optim.Adafactor, "depends on others"),
        (lambda p: optim.Muon(p[:1]), "on slices of small tensors, and not on whole ones, it raised ValueError"),
        (Normalised, "depends on others"),
        (CountsItself, "kept outside of the state of its parameter"),
        (CountsInGroup, "kept outside of the state of its parameter"),
        (OneState, "it keeps state that belongs to no parameter"),
        (Noisy, "gave other bits when they were done again"),
        (ByDimension, "compared tensors differ"),
        (ByRow, "neither one number nor one for each element"),
        (Odd, "is a object; only numbers, text and tensors"),
        (Wrapped, "compared tensors differ"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(make, reason):
    assert reason in refusal(make(params()))


class OtherwiseWithGaps(Normalised):
    """As bfloat16 is rounded otherwise where vector instructions cannot be used."""

    def update(self, param, group, state):
        param.sub_(param.grad, alpha=1 if param.is_contiguous() else 2)


def test_gaps_in_memory_may_matter():
    wide = torch.ones(4, 6)
    check_elementwise("opt", OtherwiseWithGaps([nn.Parameter(wide)]))
    message = refusal(OtherwiseWithGaps([nn.Parameter(wide[:, ::2]), nn.Parameter(wide)]))
    assert "parameters with gaps in memory, such as x[:, ::2]" in message


class OtherwiseWhenLarge(Normalised):
    """As bfloat16 is rounded otherwise at the ends of what one thread does of a tensor."""

    def update(self, param, group, state):
        param.sub_(param.grad)
        if param.numel() >= 32_768 and torch.get_num_threads() > 1:
            param.view(-1)[:7].zero_()


def test_work_shared_by_threads_may_matter():
    large, small = (OtherwiseWhenLarge([nn.Parameter(torch.ones(rows, 200))]) for rows in (200, 2))
    check_elementwise("opt", large)
    torch.set_num_threads(2)
    assert "how torch's threads share the work on them" in refusal(large)
    check_elementwise("opt", small)
    check_elementwise("opt", optim.SGD([nn.Parameter(torch.ones(200, 200))], lr=0.1))


def test_a_step_that_fails_on_whole_tensors_is_refused_with_what_it_said():
    class Broken(optim.SGD):
        def step(self):
            raise ZeroDivisionError("no luck\nmore")

    assert "in a trial on small tensors it raised ZeroDivisionError: no luck." in refusal(Broken(params()))


def test_nothing_of_the_optimizer_changes():
    mine = params()
    optimizer = optim.AdamW(mine, lr=torch.tensor(0.01))
    for param in mine:
        param.grad = torch.ones_like(param)
    optimizer.step()
    wrapped = Wrapped(mine)
    before = [param.detach().clone() for param in mine]
    state = {param: {key: value.clone() for key, value in optimizer.state[param].items()} for param in mine}
    check_elementwise("opt", optimizer)
    refusal(wrapped)
    for param, old in zip(mine, before, strict=True):
        assert torch.equal(param, old)
        assert torch.equal(param.grad, torch.ones_like(param))
        assert all(torch.equal(optimizer.state[param][key], value) for key, value in state[param].items())
    assert len(optimizer.state) == len(mine)
    assert optimizer.param_groups[0]["params"] == mine
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.01)


def test_the_random_state_stays():
    before = torch.get_rng_state()
    check_elementwise("opt", optim.SGD(params(), lr=0.1))
    refusal(Noisy(params()))
    assert torch.equal(torch.get_rng_state(), before)


def test_schedulers_and_hooks_of_the_original_are_not_called():
    optimizer = optim.SGD(params(), lr=0.1, momentum=0.9)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    check_elementwise("opt", optimizer)
    assert called == []
    assert not getattr(optimizer, "_opt_called", False)
    assert scheduler.get_last_lr() == [0.1]
    assert not optimizer.state


def test_every_group_is_tried_with_its_own_options():
    class PartlyNormalised(Normalised):
        def __init__(self, params):
            optim.Optimizer.__init__(self, params, {"lr": 0.1, "normalised": False})

        def update(self, param, group, state):
            if group["normalised"]:
                super().update(param, group, state)
            else:
                param.sub_(param.grad, alpha=group["lr"])

    first, second, _ = params()
    groups = [{"params": [first]}, {"params": [second], "lr": 0.2}]
    check_elementwise("opt", PartlyNormalised(groups))
    assert "(2 of 4 compared tensors differ" in refusal(
        PartlyNormalised([groups[0], {**groups[1], "normalised": True}])
    )


def test_an_optimizer_may_hold_state_already():
    mine = params()
    optimizer = optim.Adam(mine, amsgrad=True)
    for param in mine:
        param.grad = torch.rand_like(param)
    optimizer.step()
    check_elementwise("opt", optimizer)


def test_without_parameters_that_are_trained_there_is_nothing_to_try():
    check_elementwise("opt", optim.SGD([nn.Parameter(torch.ones(3), requires_grad=False)], lr=0.1))
