import copy
import threading

import pytest
import torch
from parallel_helpers import Parts, compute, gradients, mesh, raw
from torch import nn

from pliant.errors import ConnectionLostError
from pliant.parallel.engine import PassEngine
from pliant.parallel.pass_messages import Flags, pack_bits, union_bits


@pytest.fixture
def single():
    (group,) = mesh(1)
    yield group
    group.close()


def plain_pass(engine, group, model, number=0, shards=2):
    engine.begin(number)
    for shard in range(shards):
        engine.open_shard(shard, scale=1.0, group=None)
        model(torch.ones(3, model.in_features) * (shard + 1)).sum().backward()
        engine.close_shard(shard, scale=1.0, loss=float(shard))
    return engine.reduce(group, Flags(samples=4))


def test_the_mean_is_what_plain_torch_computes(single):
    model = nn.Linear(4, 2)
    twin = copy.deepcopy(model)
    engine = PassEngine({"m": model}, 2)
    result = plain_pass(engine, single, model)
    engine.commit(result)
    for shard in range(2):
        (twin(torch.ones(3, 4) * (shard + 1)).sum() / 2).backward()
    assert torch.allclose(model.weight.grad, twin.weight.grad)
    assert (result.loss, result.factor) == (0.5, 0.5)
    assert result.flags == [Flags(samples=4)]
    engine.close()


def test_earlier_gradients_are_added_to(single):
    model = nn.Linear(4, 2)
    engine = PassEngine({"m": model}, 2)
    engine.commit(plain_pass(engine, single, model))
    once = model.weight.grad.clone()
    engine.commit(plain_pass(engine, single, model, number=1))
    assert torch.equal(model.weight.grad, once + once)
    engine.close()


def test_skip_drops_the_gradients_and_the_buffers_of_the_pass_only(single):
    model = nn.Linear(4, 2)
    model.register_buffer("seen", torch.zeros(1))
    engine = PassEngine({"m": model}, 1)
    model.bias.grad = torch.full((2,), 9.0)
    engine.begin(0)
    model(torch.ones(1, 4)).sum().backward()
    model.seen += 1
    engine.close_shard(0, scale=1.0, loss=float("nan"))
    engine.commit(engine.reduce(single, Flags()), skip=True)
    assert model.weight.grad is None
    assert model.bias.grad.tolist() == [9.0, 9.0]
    assert model.seen.item() == 0
    engine.close()


def test_shards_without_samples_count_nothing(single):
    model = nn.Linear(4, 2)
    engine = PassEngine({"m": model}, 3)
    engine.begin(0)
    model(torch.ones(1, 4)).sum().backward()
    engine.close_shard(0, scale=0.5, loss=3.0)
    engine.close_shard(1, scale=0.0, loss=0.0)
    engine.close_shard(2, scale=0.0, loss=float("nan"))  # the mean over no token
    result = engine.reduce(single, Flags())
    assert (result.loss, result.factor) == (3.0, 2.0)
    engine.close()


def test_a_pass_without_any_weight_says_so(single):
    model = nn.Linear(4, 2)
    engine = PassEngine({"m": model}, 2)
    engine.begin(0)
    for shard in range(2):
        engine.close_shard(shard, scale=0.0, loss=0.0)
    result = engine.reduce(single, Flags())
    assert (result.loss, result.factor, result.present) == (None, 0.0, [False, False])
    engine.close()


def test_parameters_frozen_or_freed_between_passes_are_noticed(single):
    model = nn.Linear(4, 2)
    engine = PassEngine({"m": model}, 2)
    assert len(plain_pass(engine, single, model).present) == 2
    model.bias.requires_grad_(False)
    assert len(plain_pass(engine, single, model, number=1).present) == 1
    model.bias.requires_grad_(True)
    result = plain_pass(engine, single, model, number=2)
    engine.commit(result)
    assert model.bias.grad is not None
    engine.close()


def test_a_parameter_of_two_models_is_counted_once(single):
    model = nn.Linear(4, 2)
    engine = PassEngine({"whole": nn.Sequential(model), "part": model}, 2)
    assert len(plain_pass(engine, single, model).present) == 2
    engine.close()


def test_warming_up_leaves_no_trace(single):
    model = Parts()
    engine = PassEngine({"m": model}, 1)
    engine.warm()
    engine.begin(0)
    compute(engine, model, 0)
    engine.commit(engine.reduce(single, Flags()))
    expected = gradients(model, 0)["wide"]
    assert raw(model.wide.grad) == raw(expected + 0.0)
    engine.shrink()
    engine.close()


def test_close_takes_the_hooks_off(single):
    model = nn.Linear(4, 2)
    engine = PassEngine({"m": model}, 2)
    plain_pass(engine, single, model)
    engine.close()
    model(torch.ones(1, 4)).sum().backward()
    assert model.weight.grad is not None


def test_a_copy_of_a_model_has_no_hooks(single):
    model = nn.Linear(4, 2)
    engine = PassEngine({"m": model}, 2)
    plain_pass(engine, single, model)
    twin = copy.deepcopy(model)
    twin(torch.ones(1, 4)).sum().backward()
    assert twin.weight.grad is not None
    engine.close()


def test_closing_within_a_streaming_pass_ends_its_thread_and_tells_the_peers():
    groups = mesh(2)
    model = Parts()
    engine = PassEngine({"m": model}, 2)
    engine.begin(0)
    compute(engine, model, 0, stream=groups[0])
    engine.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pliant-reduce")]
    other = PassEngine({"m": Parts()}, 2)
    other.begin(0)
    compute(other, Parts(), 1)
    with pytest.raises(ConnectionLostError):
        other.reduce(groups[1], Flags())
    other.close()
    for group in groups:
        group.close()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 65])
def test_bits_are_packed_and_united(count):
    left = [index % 3 == 0 for index in range(count)]
    right = [index % 5 == 1 for index in range(count)]
    assert len(pack_bits(left)) == -(-count // 8)
    assert union_bits([pack_bits(left), pack_bits(right)], count) == [a or b for a, b in zip(left, right, strict=True)]
