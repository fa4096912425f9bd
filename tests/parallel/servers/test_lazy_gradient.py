"""A gradient that nobody has looked at is fetched by the first look, and only by one."""

import pytest
import torch
from torch import nn

from pliant.parallel.servers.lazy_gradient import LazyGradient, PassGradients


@pytest.fixture
def served():
    """A model whose gradients of pass 7 are elsewhere; and how often they were fetched."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)).to(memory_format=torch.channels_last)
    params = list(model.parameters())
    fetched = []

    def fetch():
        fetched.append(7)
        return [torch.full_like(param, 2.0) for param in params]

    gradients = PassGradients(7, fetch)
    gradients.install(params, [True] * len(params))
    return model, gradients, fetched


def untouched(model, gradients):
    return [gradients.untouched(index, param.grad) for index, param in enumerate(model.parameters())]


def test_what_asks_only_whether_there_is_one_fetches_nothing(served):
    model, gradients, fetched = served
    assert all(param.grad is not None and param.grad.shape == param.shape for param in model.parameters())
    assert model[0].weight.grad.stride() == model[0].weight.stride()
    assert not model[1].weight.grad.is_sparse
    assert all(untouched(model, gradients))
    model.zero_grad()
    torch.optim.SGD(model.parameters(), lr=0.1).zero_grad()
    assert fetched == []
    assert all(param.grad is None for param in model.parameters())


def test_the_first_look_fetches_all_of_them_once(served):
    model, gradients, fetched = served
    assert float(model[1].bias.grad.sum()) == 4.0
    assert fetched == [7]
    assert not any(isinstance(param.grad, LazyGradient) for param in model.parameters())
    assert float(model[0].weight.grad.norm()) > 0
    assert fetched == [7]
    assert all(untouched(model, gradients))


@pytest.mark.parametrize(
    "change",
    [
        lambda param: param.grad.mul_(0.5),
        lambda param: param.grad.data.mul_(0.5),
        lambda param: param.grad.detach().add_(1.0),
        lambda param: param.grad.clamp_(max=1.0),
        lambda param: setattr(param, "grad", torch.zeros_like(param)),
        lambda param: torch.nn.utils.clip_grad_norm_([param], 0.1),
        lambda param: torch._foreach_mul_([param.grad], 0.5),
    ],
)
def test_a_change_is_noticed(served, change):
    model, gradients, _ = served
    change(model[1].weight)
    names = [name for name, _ in model.named_parameters()]
    found = untouched(model, gradients)
    assert [name for name, same in zip(names, found, strict=True) if not same] == ["1.weight"]


def test_numpy_and_lists_and_arithmetic_see_the_values(served):
    model, _, _ = served
    grad = model[1].bias.grad
    assert grad.numpy().tolist() == grad.tolist() == [2.0, 2.0]
    assert (1 + grad).tolist() == [3.0, 3.0]
    assert torch.equal(grad.clone(), torch.full((2,), 2.0))
    assert "2., 2." in repr(grad)


def test_backward_adds_to_it(served):
    model, gradients, fetched = served
    model[1](torch.ones(1, 4)).sum().backward()
    assert fetched == [7]
    assert model[1].bias.grad.tolist() == [3.0, 3.0]
    assert not gradients.untouched(3, model[1].bias.grad)


def test_parameters_without_a_gradient_have_none():
    model = nn.Linear(2, 2)
    gradients = PassGradients(0, lambda: [torch.ones(2, 2), None])
    gradients.install(list(model.parameters()), [True, False])
    assert model.bias.grad is None
    assert float(model.weight.grad.sum()) == 4.0
    assert model.bias.grad is None
