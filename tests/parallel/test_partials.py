import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parallel_helpers import Parts, gradients, raw
from torch import nn

from pliant.comm.tree import maximal_subtrees
from pliant.errors import UsageError
from pliant.parallel.layout import Layout
from pliant.parallel.partials import FlatCollector, ListCollector, Partials, scaled


def expected_sums(model, node):
    """Straight down the tree, in a way of its own: recursion over the shards' gradients."""
    if node[1] - node[0] == 1:
        return gradients(model, node[0])
    half = 1
    while half * 2 < node[1] - node[0]:
        half *= 2
    left, right = expected_sums(model, (node[0], node[0] + half)), expected_sums(model, (node[0] + half, node[1]))
    both = {}
    for name, a in left.items():
        b = right[name]
        both[name] = b if a is None else a if b is None else a + b
    return both


def put(model, shard):
    for name, grad in gradients(model, shard).items():
        model.get_parameter(name).grad = grad


def flat_bits(partials, node):
    layout = partials.layout
    return {name: raw(layout.view(partials.flats[node], index)) for index, name in enumerate(layout.names)}


def wanted_bits(model, node):
    return {
        name: raw(torch.zeros_like(model.get_parameter(name)) if grad is None else grad)
        for name, grad in expected_sums(model, node).items()
    }


@st.composite
def held_shards(draw):
    shards = draw(st.integers(1, 12))
    held = draw(st.lists(st.integers(0, shards - 1), min_size=1, unique=True))
    return shards, held


@given(held_shards(), st.sampled_from(["taken", "hooked", "streamed", "flat first"]), st.randoms(use_true_random=False))
def test_every_way_gives_the_sums_of_the_tree(case, way, order):
    shards, held = case
    model = Parts()
    layout = Layout(list(model.named_parameters()), bucket_bytes=256)
    partials = Partials(layout, shards)
    indices = list(range(len(layout.params)))
    full_buckets = []
    for place, shard in enumerate(held):
        put(model, shard)
        collector = None
        if way == "hooked":
            collector = ListCollector(partials, shard)
        elif way == "streamed" and place == len(held) - 1:
            collector = FlatCollector(partials, shard, set(held), full_buckets.append)
        elif way == "flat first" and place == 1:
            partials.flatten()
        if collector is None:
            partials.take_leaf(shard)
            continue
        order.shuffle(indices)
        for index in indices[: len(indices) // 2]:  # the rest takes no part in this backward
            collector.ready(index)
        collector.finish()
    if way == "streamed":
        assert sorted(full_buckets) == list(range(len(layout.buckets)))
    partials.flatten()
    assert partials.nodes == sorted(partials.flats) == maximal_subtrees(held, shards)
    assert partials.held == sorted(held)
    assert all(param.grad is None for param in model.parameters())
    for node in partials.nodes:
        assert flat_bits(partials, node) == wanted_bits(model, node)
    present = {name for shard in held for name, grad in gradients(model, shard).items() if grad is not None}
    assert {name for name, flag in zip(layout.names, partials.present, strict=True) if flag} == present


def test_at_most_log2_lists_are_open():
    model = Parts()
    partials = Partials(Layout(list(model.named_parameters())), 16)
    most = 0
    for shard in range(16):
        put(model, shard)
        partials.take_leaf(shard)
        most = max(most, len(partials.lists))
    assert most == 4
    assert partials.nodes == [(0, 16)]


def test_reset_keeps_the_memory_for_the_next_pass():
    model = Parts()
    partials = Partials(Layout(list(model.named_parameters())), 2)
    put(model, 0)
    partials.take_leaf(0)
    partials.flatten()
    memory = [flat.data_ptr() for flat in partials.flats[0, 1]]
    partials.reset()
    assert partials.held == []
    assert not any(partials.present)
    assert [flat.data_ptr() for flat in partials.new_flats()] == memory
    partials.reset()
    partials.release()


def test_sparse_gradients_are_refused_by_name():
    model = nn.Embedding(5, 3, sparse=True)
    partials = Partials(Layout([("model.weight", model.weight)]), 2)
    model(torch.tensor([1])).sum().backward()
    with pytest.raises(UsageError, match=r"model\.weight has a sparse gradient.*sparse=False"):
        partials.take_leaf(0)


def test_a_gradient_in_two_parts_is_refused_by_name():
    model = nn.Linear(2, 2)
    partials = Partials(Layout(list(model.named_parameters())), 2)
    collector = ListCollector(partials, 0)
    collector.ready(0)
    with pytest.raises(UsageError, match="parameter weight received its gradient in two parts"):
        collector.ready(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("factor", [1.0, 0.5, 1 / 3, 1 / 2.85])
def test_scaling_is_the_rounded_product_wherever_an_element_lies(dtype, factor):
    source = torch.randn(1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    whole = scaled(source, factor, torch.empty_like(source))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert torch.equal(whole, (source.to(wide) * factor).to(dtype))
    for size in (1, 3, 7, 33):
        parts = [scaled(part, factor, torch.empty_like(part)) for part in source.split(size)]
        assert torch.equal(torch.cat(parts), whole)
    turned = source.view(40, 25).t()
    assert torch.equal(scaled(turned, factor, torch.empty(25, 40, dtype=dtype)), whole.view(40, 25).t())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scaling_makes_every_zero_positive(dtype):
    zeros = torch.tensor([-0.0, 0.0, -0.0], dtype=dtype)
    assert not bool(torch.signbit(scaled(zeros, 0.3, zeros)).any())
