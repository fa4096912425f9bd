import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pliant.parallel.tables.row_optimizers import apply_update, state_columns
from pliant.wire.tables import RowAdagrad, RowAdam, RowOptimizer, RowSGD

PAIRS = {
    "sgd": (RowSGD(lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (RowSGD(lr=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "adagrad": (RowAdagrad(lr=0.05), lambda p: torch.optim.Adagrad(p, lr=0.05)),
    "adagrad-initial": (
        RowAdagrad(lr=0.05, eps=1e-6, initial=0.1),
        lambda p: torch.optim.Adagrad(p, lr=0.05, eps=1e-6, initial_accumulator_value=0.1),
    ),
    "adam": (RowAdam(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
    "adam-betas": (
        RowAdam(lr=0.01, betas=(0.5, 0.75), eps=1e-3),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.5, 0.75), eps=1e-3),
    ),
}
OPTIMIZERS = [ours for ours, _ in PAIRS.values()]


def fresh_state(optimizer, rows):
    dim = rows.shape[1]
    return [torch.full((len(rows), c.width), c.initial) for c in state_columns(optimizer, dim)]


def gradients(shape, step):
    """Of many sizes, with zeros of both signs."""
    generator = torch.Generator().manual_seed(step)
    grads = torch.randn(shape, generator=generator) * 10.0 ** torch.randint(-4, 3, shape, generator=generator)
    grads[torch.rand(shape, generator=generator) < 0.1] = 0.0
    grads[torch.rand(shape, generator=generator) < 0.1] = -0.0
    return grads


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_rows_touched_in_every_step_have_the_bits_of_the_dense_optimizer(name, foreach):
    ours, make = PAIRS[name]
    rows = gradients((37, 13), 1000)
    rows[0] = -0.0
    dense = torch.nn.Parameter(rows.clone())
    theirs = make([dense])
    theirs.param_groups[0]["foreach"] = foreach
    state = fresh_state(ours, rows)
    for step in range(60):
        grads = gradients(rows.shape, step)
        dense.grad = grads.clone()
        theirs.step()
        apply_update(ours, rows=rows, state=state, grads=grads)
        assert torch.equal(rows.view(torch.int32), dense.detach().view(torch.int32)), f"step {step}"


@given(st.sampled_from(OPTIMIZERS), st.integers(1, 20), st.integers(1, 70), st.data())
def test_bits_of_a_row_do_not_depend_on_the_batch(optimizer, dim, count, data):
    part = slice(start := data.draw(st.integers(0, count - 1)), data.draw(st.integers(start + 1, count)))
    rows = gradients((count, dim), 7)
    state = fresh_state(optimizer, rows)
    alone, alone_state = rows[part].clone(), [each[part].clone() for each in state]
    for step in range(3):
        grads = gradients(rows.shape, step)
        apply_update(optimizer, rows=rows, state=state, grads=grads)
        apply_update(optimizer, rows=alone, state=alone_state, grads=grads[part].clone())
    for whole, single in zip([rows, *state], [alone, *alone_state], strict=True):
        assert torch.equal(whole[part].contiguous().view(torch.int32), single.view(torch.int32))


def test_adam_counts_each_rows_own_updates():
    """A row that begins later moves as one that began at once did."""
    optimizer = RowAdam(lr=0.01)
    rows = torch.zeros(2, 4)
    state = fresh_state(optimizer, rows)
    grads = gradients((5, 1, 4), 3)
    for step in range(40):
        first = slice(0, 1)
        apply_update(optimizer, rows=rows[first], state=[s[first] for s in state], grads=grads[step % 5])
    rows[0], early = 0.0, rows[0].clone()
    state[0][0], state[1][0], state[2][0] = 0.0, 0.0, 0.0
    for step in range(40):
        second = slice(1, 2)
        apply_update(optimizer, rows=rows[second], state=[s[second] for s in state], grads=grads[step % 5])
    assert torch.equal(rows[1], early)


def test_adam_goes_on_when_its_count_cannot():
    optimizer = RowAdam(lr=0.01)
    rows = torch.zeros(1, 2)
    state = fresh_state(optimizer, rows)
    state[2][:] = 2.0**24
    apply_update(optimizer, rows=rows, state=state, grads=torch.ones(1, 2))
    assert state[2].item() == 2.0**24
    assert torch.isfinite(rows).all()
    assert rows.any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_gradients_are_not_changed_and_nothing_is_a_batch(optimizer):
    rows = torch.ones(3, 2)
    grads = torch.ones(3, 2)
    apply_update(optimizer, rows=rows, state=fresh_state(optimizer, rows), grads=grads)
    assert torch.equal(grads, torch.ones(3, 2))
    empty = torch.empty(0, 2)
    apply_update(optimizer, rows=empty, state=fresh_state(optimizer, empty), grads=empty)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_wire_carries_them(optimizer):
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(optimizer), type=RowOptimizer) == optimizer
