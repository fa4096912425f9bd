"""What workers compare: each tensor of modules and optimizers under a name, alike on every worker."""

import copy

import pytest
import torch
from torch import nn

from pliant.transfer.capture import capture, restore
from pliant.transfer.spec import decode, encode
from pliant.transfer.state_digests import combined, state_digests


def with_closure(parameters, lr):
    """LBFGS keeps lists of tensors; its closure is its own here."""
    parameters = list(parameters)
    optimizer = torch.optim.LBFGS(parameters, lr=lr, max_iter=3)
    step = optimizer.step

    def closure():
        optimizer.zero_grad()
        loss = sum((param - 1).square().sum() for param in parameters)
        loss.backward()
        return loss

    optimizer.step = lambda: step(closure)
    return optimizer


def trained(make_optimizer=torch.optim.AdamW, *, steps=2):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = make_optimizer(model.parameters(), lr=0.1)
    for _ in range(steps):
        model(torch.randn(8, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {"model": model, "optimizer": optimizer}


def table(tracked):
    found = state_digests(tracked)
    assert len({each.name for each in found}) == len(found), "a name is there twice"
    return {each.name: each.digest for each in found}


def changed(before, after):
    assert list(before) == list(after)
    return [name for name in before if before[name] != after[name]]


def test_names():
    names = list(table(trained()))
    assert names[:4] == ["model.0.weight", "model.0.bias", "model.1.weight", "model.1.bias"]
    assert "model.1.running_mean" in names
    assert "optimizer's state of model.0.weight: exp_avg" in names
    assert names[-1] == "the numbers of optimizer"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda t: t["model"][2].weight.data.view(torch.int32)[0, 1].bitwise_xor_(1), "model.2.weight"),
        (lambda t: t["model"][1].running_var.mul_(1.5), "model.1.running_var"),
        (lambda t: t["model"][1].num_batches_tracked.add_(1), "model.1.num_batches_tracked"),
        (
            lambda t: t["optimizer"].state[t["model"][0].bias]["exp_avg_sq"].neg_(),
            "optimizer's state of model.0.bias: exp_avg_sq",
        ),
        (lambda t: t["optimizer"].param_groups[0].update(lr=0.1000001), "the numbers of optimizer"),
    ],
)
def test_each_change_shows_under_its_name(change, name):
    tracked = trained()
    before = table(tracked)
    total = combined(state_digests(tracked))
    change(tracked)
    assert changed(before, table(tracked)) == [name]
    assert combined(state_digests(tracked)) != total


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad, with_closure])
def test_a_newcomer_that_has_received_the_state_has_the_same(make):
    tracked, newcomer = trained(make), trained(make, steps=0)
    state = encode(capture(tracked))
    restore(newcomer, decode(state.meta, [tensor.clone() for tensor in state.tensors]))
    assert changed(table(tracked), table(newcomer)) == []


def test_a_copy_and_a_compiled_model_have_the_same():
    tracked = trained()
    again = copy.deepcopy(tracked)
    assert changed(table(tracked), table(again)) == []
    compiled = {"model": torch.compile(tracked["model"])}
    assert changed(table({"model": tracked["model"]}), table(compiled)) == []


def test_before_the_first_step_and_with_parameters_that_never_get_a_gradient():
    assert not any("state of" in name for name in table(trained(steps=0)))
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "never": nn.Linear(2, 2)})
    optimizer = torch.optim.Adam(model.parameters())
    model["used"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    names = table({"model": model, "optimizer": optimizer})
    assert "optimizer's state of model.used.bias: step" in names
    assert not any("state of model.never" in name for name in names)
    assert model["never"].weight not in optimizer.state, "looking made an entry"


def test_tied_weights_count_once_and_caches_are_loose():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model.register_buffer("mask", torch.ones(3))
    model.register_buffer("cache", torch.ones(4), persistent=False)
    model.register_buffer("empty", None)
    found = {each.name: each.loose for each in state_digests({"model": model})}
    assert found == {
        "model.0.weight": False,
        "model.0.bias": False,
        "model.1.bias": False,
        "model.mask": False,
        "model.cache (torch.float32 (4,))": True,
    }


def test_other_tracked_objects_do_not_count():
    tracked = trained()
    scheduler = torch.optim.lr_scheduler.StepLR(tracked["optimizer"], 1)
    assert changed(table(tracked), table(tracked | {"scheduler": scheduler})) == []
