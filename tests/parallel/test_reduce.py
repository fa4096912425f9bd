import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parallel_helpers import (
    Parts,
    aborting,
    compute,
    grads_of,
    mesh,
    one_pass,
    outcomes,
    raw,
    reference_grads,
    state_of,
    together,
)
from torch import nn

from pliant.comm.tree import maximal_subtrees
from pliant.errors import ConnectionLostError, DivergedError, ProtocolError, StateError
from pliant.parallel import engine as engine_module
from pliant.parallel.divergence_plan import Check
from pliant.parallel.engine import PassEngine
from pliant.parallel.layout import Layout
from pliant.parallel.pass_messages import NODE_BITS, PART, RESULT, Flags


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch):
    """Several buckets, so that the ring of staging memory is used."""
    monkeypatch.setattr(engine_module, "Layout", lambda named: Layout(named, bucket_bytes=256))


def alone(shards, *, passes=1):
    (group,) = mesh(1)
    model = Parts()
    engine = PassEngine({"m": model}, shards)
    for number in range(passes):
        result = one_pass(engine, model, group, range(shards), number=number)
        last = state_of(model), result.loss, result.factor
        model.zero_grad()
    engine.close()
    group.close()
    return last


def crew(shards, hands, *, passes=1, stream=True):
    """Every worker's (gradients and buffers, loss, factor) after its last pass."""
    groups = mesh(len(hands))

    def work(rank):
        model = Parts()
        engine = PassEngine({"m": model}, shards)
        for number in range(passes):
            result = one_pass(engine, model, groups[rank], hands[rank], number=number, stream=stream)
            found = state_of(model), result.loss, result.factor
            model.zero_grad()
        engine.close()
        return found

    try:
        return together([aborting(groups[rank], lambda rank=rank: work(rank)) for rank in range(len(hands))])
    finally:
        for group in groups:
            group.close()


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8, 11])
def test_one_worker_gives_the_tree_sum(shards):
    state, _, _ = alone(shards)
    expected = reference_grads(Parts(), shards)
    assert {name: state[name] for name in expected} == expected


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_partition_gives_the_bits_of_one_worker(data):
    shards = data.draw(st.integers(1, 11), label="shards")
    members = data.draw(st.integers(2, 6), label="members")
    owner = data.draw(st.lists(st.integers(0, members - 1), min_size=shards, max_size=shards), label="owner")
    stream = data.draw(st.booleans(), label="stream")
    hands = [[shard for shard in range(shards) if owner[shard] == rank] for rank in range(members)]
    expected = alone(shards)
    assert crew(shards, hands, stream=stream) == [expected] * members


def test_several_passes_reuse_the_memory_and_keep_the_bits():
    expected = alone(8, passes=3)
    assert crew(8, [[0, 1, 2], [3, 4, 5, 6], [7], []], passes=3) == [expected] * 4


def test_gradients_far_larger_than_the_kernels_buffers(monkeypatch):
    monkeypatch.setattr(engine_module, "Layout", Layout)
    groups = mesh(2)
    models = [nn.ParameterList([nn.Parameter(torch.zeros(2 << 20)) for _ in range(8)]) for _ in groups]

    def work(rank):
        engine = PassEngine({"m": models[rank]}, 2)
        engine.begin(0)
        for param in models[rank]:
            param.grad = torch.full_like(param, 1.0 + rank)
        engine.close_shard(rank, scale=1.0, loss=0.0)
        engine.commit(engine.reduce(groups[rank], Flags()))
        engine.close()

    together([aborting(groups[rank], lambda rank=rank: work(rank)) for rank in range(2)])
    assert all(bool((param.grad == 1.5).all()) for model in models for param in model)
    for group in groups:
        group.close()


def test_gradients_that_the_script_keeps_are_never_overwritten():
    groups = mesh(2)

    def work(rank):
        model = Parts()
        engine = PassEngine({"m": model}, 4)
        one_pass(engine, model, groups[rank], [rank, rank + 2], number=0)
        kept = model.wide.grad.detach()[3:]
        before = raw(kept)
        model.zero_grad()
        model.mean.zero_()
        engine.begin(1)
        for shard in (rank, rank + 2):
            for param in model.parameters():
                param.grad = torch.full_like(param, 7.0)
            engine.close_shard(shard, scale=1.0, loss=0.0)
        engine.commit(engine.reduce(groups[rank], Flags()))
        engine.close()
        return raw(kept) == before, bool((model.wide.grad == 7.0).all())

    assert together([aborting(groups[rank], lambda rank=rank: work(rank)) for rank in range(2)]) == [(True, True)] * 2
    for group in groups:
        group.close()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dies", ["before", "in"])
def test_a_member_that_vanishes_leaves_partial_sums_untouched(stream, dies):
    """The survivors keep what they have, take over the dead one's shards, and come to the same bits."""
    shards, hands = 8, [[0, 1, 2], [3, 4], [5, 6, 7]]
    groups, second = mesh(3), mesh(2, generation=2)
    expected = alone(shards)

    def dying():
        model = Parts()
        engine = PassEngine({"m": model}, shards)
        engine.begin(0)
        for shard in hands[2]:
            compute(engine, model, shard)
        if dies == "in":  # some of its frames get through
            engine._current_partials().flatten()
            reduction = engine._new_reduction(groups[2], engine._state.scales)
            reduction.bucket_ready(0)
            reduction.bucket_ready(1)
            reduction._send_all(2, engine_module.Reduction.run.__globals__["_ENCODE"](reduction.pre))
            groups[2].drive(reduction, lambda: reduction._advance() or reduction._posted >= 2)
        groups[2].abort()

    def surviving(rank):
        model = Parts()
        engine = PassEngine({"m": model}, shards)
        engine.begin(0)
        for shard in hands[rank]:
            compute(engine, model, shard, stream=groups[rank] if stream and shard == hands[rank][-1] else None)
        with pytest.raises(ConnectionLostError):
            engine.reduce(groups[rank], Flags())
        groups[rank].abort()
        engine.abandon()
        assert not engine.full
        assert engine.held == hands[rank]
        partials = engine._current_partials()
        assert partials.nodes == maximal_subtrees(hands[rank], shards)
        before = {node: [raw(flat) for flat in flats] for node, flats in partials.flats.items()}
        inherited = [[5, 7], [6]][rank]
        with pytest.raises(ConnectionLostError):  # a second group that breaks changes nothing either
            engine.reduce(groups[rank], Flags())
        assert {node: [raw(flat) for flat in flats] for node, flats in partials.flats.items()} == before
        for shard in inherited:
            compute(engine, model, shard, stream=second[rank] if stream and shard == inherited[-1] else None)
        result = engine.reduce(second[rank], Flags())
        assert engine.full
        engine.commit(result)
        engine.close()
        return state_of(model), result.loss, result.factor

    found = together([lambda: surviving(0), lambda: surviving(1), dying])
    assert found[:2] == [expected] * 2
    for group in (*groups, *second):
        group.close()


def test_the_last_survivor_finishes_alone():
    shards = 5
    groups = mesh(2)
    (single,) = mesh(1)
    groups[1].abort()
    model = Parts()
    engine = PassEngine({"m": model}, shards)
    engine.begin(0)
    for shard in (0, 3):
        compute(engine, model, shard, stream=groups[0] if shard == 3 else None)
    with pytest.raises(ConnectionLostError):
        engine.reduce(groups[0], Flags())
    engine.abandon()
    for shard in (1, 2, 4):
        compute(engine, model, shard)
    result = engine.reduce(single, Flags())
    engine.commit(result)
    assert (state_of(model), result.loss, result.factor) == alone(shards)
    engine.close()
    for group in (*groups, single):
        group.close()


def test_restart_forgets_all_shards():
    shards = 4
    (group,) = mesh(1)
    model = Parts()
    engine = PassEngine({"m": model}, shards)
    engine.begin(0)
    compute(engine, model, 1)
    compute(engine, model, 3)
    engine.restart()
    assert engine.held == []
    for shard in range(shards):
        compute(engine, model, shard)
    engine.commit(engine.reduce(group, Flags()))
    assert state_of(model) == alone(shards)[0]
    engine.close()
    group.close()


def two(first, second):
    """Both sides' outcomes of a reduction with engines that differ. Each is ``(model, shards, held, number)``."""
    groups = mesh(2)

    def work(rank, model, shards, held, number):
        engine = PassEngine({"m": model}, shards)
        engine.begin(number)
        for shard in held:
            for param in model.parameters():
                param.grad = torch.ones_like(param)
            engine.close_shard(shard, scale=1.0, loss=0.0)
        try:
            engine.commit(engine.reduce(groups[rank], Flags()))
        finally:
            groups[rank].abort()
            engine.close()

    found = outcomes([lambda: work(0, *first), lambda: work(1, *second)])
    for group in groups:
        group.close()
    return found


def first_error(found):
    """What the member that noticed says; the other one may only see the connection end."""
    return next(error for error in found if not isinstance(error, ConnectionLostError))


def test_another_model_on_another_worker_is_a_state_error():
    error = first_error(two((nn.Linear(3, 2), 2, [0], 0), (nn.Linear(3, 4), 2, [1], 0)))
    assert type(error) is StateError
    assert "Build the same model" in str(error)


def test_the_same_shapes_under_other_names_are_a_state_error():
    left, right = nn.ModuleDict({"a": nn.Linear(2, 2)}), nn.ModuleDict({"b": nn.Linear(2, 2)})
    assert type(first_error(two((left, 2, [0], 0), (right, 2, [1], 0)))) is StateError


def test_another_pass_is_divergence():
    error = first_error(two((nn.Linear(2, 2), 2, [0], 4), (nn.Linear(2, 2), 2, [1], 5)))
    assert type(error) is DivergedError
    assert "pass 4" in str(error)
    assert "pass 5" in str(error)


@pytest.mark.parametrize("stream", [False, True])
def test_other_state_is_divergence_on_all_alike(stream):
    groups = mesh(3)
    wrong = [b"old bits", b"old bits", b"new bits"]

    def work(rank):
        model = nn.Linear(2, 2)
        engine = PassEngine({"m": model}, 3)
        entries = [("same", b"the same", False), ("m.weight", wrong[rank], False)]
        engine.begin(0, check=Check(entries, step=20, agreed=10, worker_of="w{}".format))
        engine.open_shard(rank, scale=1.0, group=groups[rank] if stream else None)
        model(torch.ones(1, 2)).sum().backward()
        engine.close_shard(rank, scale=1.0, loss=0.0)
        engine.reduce(groups[rank], Flags())

    found = outcomes(work_of(rank, work) for rank in range(3))
    for error in found:
        assert type(error) is DivergedError
        assert "before step 20, w2 deviates from w0 and w1 in m.weight" in str(error)
    for group in groups:
        group.close()


def work_of(rank, work):
    return lambda: work(rank)


@pytest.mark.parametrize("hands", [([0, 1], [1, 2, 3]), ([0, 1], [3]), ([0], [1, 2])])
def test_shards_held_twice_or_by_nobody_are_divergence(hands):
    error = first_error(two((nn.Linear(2, 2), 4, hands[0], 0), (nn.Linear(2, 2), 4, hands[1], 0)))
    assert type(error) is DivergedError


@pytest.mark.parametrize(
    ("kind", "index", "size"),
    [(PART, 0, 8), (RESULT, 0, 8), (77, 0, 8), (2, 0, 1 << 40), (PART, 99 << NODE_BITS, 8)],
)
def test_frames_that_break_the_protocol(kind, index, size):
    left, right = mesh(2)
    model = nn.Linear(2, 2)
    engine = PassEngine({"m": model}, 2)
    engine.begin(0)
    engine.close_shard(0, scale=1.0, loss=0.0)
    from_peer = right._channels[0]
    from_peer.sock.sendall(
        b"".join([kind.to_bytes(4, "little"), index.to_bytes(4, "little"), size.to_bytes(8, "little")])
    )
    with pytest.raises(ProtocolError, match="rank 1"):
        engine.reduce(left, Flags())
    engine.close()
    left.close()
    right.close()


def test_without_any_trainable_parameter_losses_and_buffers_still_meet():
    groups = mesh(2)

    def work(rank):
        model = nn.BatchNorm1d(2, affine=False)
        engine = PassEngine({"m": model}, 2)
        engine.begin(0)
        model.running_mean += 1.0 + rank
        engine.close_shard(rank, scale=1.0, loss=2.0 * rank)
        result = engine.reduce(groups[rank], Flags())
        engine.commit(result)
        engine.close()
        return result.loss, model.running_mean.tolist(), grads_of(model)

    assert (
        together([aborting(groups[rank], lambda rank=rank: work(rank)) for rank in range(2)])
        == [(1.0, [1.5, 1.5], {})] * 2
    )
    for group in groups:
        group.close()
