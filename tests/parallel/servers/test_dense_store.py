import random

import pytest
import torch
from optimizer_samples import ELEMENTWISE, FUSED, SignDescent
from store_samples import Cluster, Net, gradients, layout_of, options, slot_params, take, travelled
from torch import nn, optim

from pliant.errors import ConfigError, StateError
from pliant.parallel.servers.dense_store import DenseStore, groups_of
from pliant.parallel.servers.optimizer_state import gather, same_bits
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.slot_state import SlotState
from pliant.wire.server_messages import SLOTS

STEPS = 8


def trained(make, net, other, *, servers=3, steps=STEPS, lacking=()):
    """Train ``net`` whole and ``other`` in slots that move about; each update must give the same bits."""
    whole = make(list(net.parameters()))
    scheduler = optim.lr_scheduler.ExponentialLR(whole, 0.9)
    cluster = Cluster(other, {"opt": make(list(other.parameters()))}, servers=servers)
    cluster.begin()
    mine, moves = layout_of(net), random.Random(5)
    for number in range(steps):
        present = [(number, name) not in lacking for name in mine.names]
        flats = gradients(mine, number)
        cluster.apply("opt", flats, groups=options(whole), present=present)
        take(mine, flats, present)
        whole.step()
        scheduler.step()
        for left, right, name in zip(mine.params, cluster.values(), mine.names, strict=True):
            assert same_bits(left, right), f"update {number}, {name}"
        for slot in moves.sample(range(SLOTS), 20):
            cluster.move(slot, moves.randrange(servers))
    return whole, cluster


LACKING = {(3, "bias"), (3, "wide"), (4, "bias"), (5, "scale"), (6, "other")}


@pytest.mark.parametrize("name", [*ELEMENTWISE, *FUSED])
def test_updates_in_slots_give_the_bits_of_whole_tensors(name):
    make = {**ELEMENTWISE, **FUSED}[name]
    gaps = name in ELEMENTWISE  # fused kernels take memory as if it had none
    whole, cluster = trained(make, Net(gaps=gaps), Net(gaps=gaps), lacking=LACKING)
    states = {slot: state.optimizers["opt"] for slot, state in cluster.states().items()}
    found = gather(cluster.stores[0].originals["opt"], states=states, layout=cluster.layout, ranges=cluster.ranges)
    wanted = whole.state_dict()["state"]
    assert found.keys() == wanted.keys()
    for number, entries in wanted.items():
        assert found[number].keys() == entries.keys()
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                assert same_bits(found[number][key], value), (number, key)


@pytest.mark.parametrize("name", ["sgd-nesterov", "adamw", "adagrad", "rmsprop", "rprop", "own"])
@pytest.mark.parametrize("dtypes", [(torch.bfloat16, None), (torch.float32, torch.bfloat16), (torch.float64, None)])
def test_other_dtypes_and_mixed_ones(name, dtypes):
    trained(ELEMENTWISE[name], Net(*dtypes), Net(*dtypes), lacking=LACKING)


def test_parameters_may_come_in_late():
    late = {(number, name) for number in range(4) for name in ("conv", "scale", "gaps")}
    trained(ELEMENTWISE["adam"], Net(), Net(), lacking=late)
    trained(ELEMENTWISE["sgd-momentum"], Net(), Net(), lacking=late)


def test_groups_keep_their_own_options():
    def make(params):
        return optim.AdamW([{"params": params[1::2], "weight_decay": 0.3}, {"params": params[::2], "lr": 0.1}])

    trained(make, Net(), Net())


def test_several_optimizers_share_slots_and_touch_their_own_parameters_only():
    net, other = Net(), Net()

    def made(model):
        params = list(model.parameters())
        return {"first": optim.Adam(params[::2], lr=0.1), "second": optim.SGD(params[1::2], lr=0.1, momentum=0.9)}

    whole = made(net)
    cluster = Cluster(other, made(other), servers=2)
    cluster.begin()
    layout = layout_of(net)
    for number in range(4):
        for name, optimizer in whole.items():
            flats = gradients(layout, 10 * number + (name == "first"))
            cluster.apply(name, flats, groups=options(optimizer), present=[True] * len(layout.params))
            take(layout, flats, [True] * len(layout.params))
            optimizer.step()
        cluster.move(number, 1)
        for left, right in zip(layout.params, cluster.values(), strict=True):
            assert same_bits(left, right)


def test_parameters_of_no_optimizer_stay_as_they_are():
    net = Net()
    optimizer = optim.SGD([net.wide], lr=0.1)
    cluster = Cluster(net, {"opt": optimizer}, servers=2)
    cluster.begin()
    flats = gradients(cluster.layout, 0)
    present = [True] * len(cluster.layout.params)
    cluster.apply("opt", flats, groups=options(optimizer), present=present)
    for name, param, value in zip(cluster.layout.names, cluster.layout.params, cluster.values(), strict=True):
        assert torch.equal(param, value) == (name != "wide")


def store_of(make=None, net=None):
    net = net or Net()
    layout = layout_of(net)
    optimizer = (make or ELEMENTWISE["adam"])(list(net.parameters()))
    store = DenseStore(layout, ranges=SlotRanges(layout), optimizers={"opt": optimizer})
    return store, options(optimizer), [True] * len(layout.params)


def begin_all(store):
    for slot in range(SLOTS):
        store.begin(slot, slot_params(store.layout, store.ranges, slot))


def test_an_update_changes_the_slots_given_and_no_others():
    store, groups, present = store_of()
    begin_all(store)
    flats = gradients(store.layout, 0)
    before = [[flat.clone() for flat in store.params(slot)] for slot in range(SLOTS)]
    given = {slot: store.ranges.cut(slot, flats) for slot in range(10, 20)}
    store.apply("opt", groups=groups, grads=given, present=present)
    for slot in range(SLOTS):
        same = all(map(torch.equal, before[slot], store.params(slot)))
        assert same == (slot not in given)
        assert bool(store.snapshot(slot).optimizers["opt"]) == (slot in given)


@pytest.mark.parametrize("make", [ELEMENTWISE["adam"], SignDescent], ids=["adam", "writes-to-gradients"])
def test_gradients_are_neither_changed_nor_kept(make):
    store, groups, present = store_of(make)
    begin_all(store)
    for number in range(3):
        flats = gradients(store.layout, number)
        grads = {slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}
        before = [flat.clone() for flat in flats]
        store.apply("opt", groups=groups, grads=grads, present=present)
        assert all(map(torch.equal, before, flats))
        values = [flat.clone() for slot in range(SLOTS) for flat in store.params(slot)]
        for flat in flats:
            flat.fill_(float("nan"))
        assert all(map(torch.equal, values, [flat for slot in range(SLOTS) for flat in store.params(slot)]))


def test_whether_gradients_are_written_to_is_not_judged_by_an_update_without_any():
    store, groups, present = store_of(SignDescent)
    begin_all(store)
    for number, now in enumerate([[False] * len(present), present, present]):
        flats = gradients(store.layout, number)
        before = [flat.clone() for flat in flats]
        store.apply(
            "opt", groups=groups, grads={slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}, present=now
        )
        assert all(map(torch.equal, before, flats))


def test_parameters_are_the_live_memory_and_snapshots_are_not():
    store, groups, present = store_of()
    begin_all(store)
    live, old = store.params(7), store.snapshot(7)
    pointers = [flat.data_ptr() for flat in live]
    for number in range(2):
        flats = gradients(store.layout, number)
        grads = {slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}
        store.apply("opt", groups=groups, grads=grads, present=present)
        if not number:
            first = store.snapshot(7)
            kept = travelled(first)
    assert [flat.data_ptr() for flat in store.params(7)] == pointers
    assert not any(map(torch.equal, live, old.params))
    assert old.optimizers == {"opt": {}}
    for left, right in zip(first.params, kept.params, strict=True):
        assert torch.equal(left, right)
    for index, entries in first.optimizers["opt"].items():
        assert float(entries["step"]) == 1
        assert all(torch.equal(value, kept.optimizers["opt"][index][key]) for key, value in entries.items())


def test_what_is_installed_is_copied():
    store, groups, present = store_of()
    begin_all(store)
    flats = gradients(store.layout, 0)
    grads = {slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}
    store.apply("opt", groups=groups, grads=grads, present=present)
    state = store.snapshot(3)
    kept = travelled(state)
    store.install(3, state)
    store.apply("opt", groups=groups, grads=grads, present=present)
    assert all(map(torch.equal, state.params, kept.params))
    for index, entries in state.optimizers["opt"].items():
        assert all(torch.equal(value, kept.optimizers["opt"][index][key]) for key, value in entries.items())


def test_slots_begin_with_the_state_that_the_optimizer_has():
    store, _, _ = store_of(ELEMENTWISE["adagrad"])
    begin_all(store)
    for slot in range(SLOTS):
        entries = store.snapshot(slot).optimizers["opt"]
        assert entries.keys() == {piece.param for piece in store.ranges.pieces[slot]}
        for piece in store.ranges.pieces[slot]:
            shape = () if store.layout.params[piece.param].dim() == 0 else (piece.stop - piece.start,)
            assert entries[piece.param]["sum"].shape == shape
            assert bool((entries[piece.param]["sum"] == torch.tensor(0.3)).all())


def test_sizes_and_slots_are_told():
    store, groups, present = store_of()
    assert (store.slots, store.size_bytes) == ([], 0)
    begin_all(store)
    params = sum(spec.size_bytes for spec in store.layout.buckets)
    assert store.slots == list(range(SLOTS))
    assert store.size_bytes == params
    flats = gradients(store.layout, 0)
    grads = {slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}
    store.apply("opt", groups=groups, grads=grads, present=present)
    elements = sum(place.numel for place in store.layout.slots)
    assert store.size_bytes == params + 2 * 4 * elements + 4 * sum(map(len, store.ranges.pieces))
    for slot in range(SLOTS):
        store.drop(slot)
        store.drop(slot)
    assert (store.slots, store.size_bytes) == ([], 0)


def test_a_scheduler_on_the_servers_own_optimizer_does_not_matter():
    net = Net()
    layout = layout_of(net)
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    optim.lr_scheduler.StepLR(optimizer, 1)
    before = [param.detach().clone() for param in net.parameters()]
    store = DenseStore(layout, ranges=SlotRanges(layout), optimizers={"opt": optimizer})
    begin_all(store)
    flats = gradients(layout, 0)
    grads = {slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}
    old = [flat.clone() for flat in store.params(0)]
    store.apply("opt", groups=options(optimizer), grads=grads, present=[True] * len(layout.params))
    assert not any(map(torch.equal, old, store.params(0)))
    assert all(map(torch.equal, before, net.parameters()))
    assert not getattr(optimizer, "_opt_called", False)


# ---------------------------------------------------------------- what is refused


def test_an_update_that_does_not_fit_changes_nothing():
    store, groups, present = store_of()
    begin_all(store)
    store.drop(5)
    flats = gradients(store.layout, 0)
    grads = {slot: store.ranges.cut(slot, flats) for slot in range(4)}
    before = [flat.clone() for slot in range(4) for flat in store.params(slot)]
    wrong = [
        ({"name": "adam"}, "no optimizer 'adam'; the optimizers here are ['opt']"),
        ({"groups": groups * 2}, "1 parameter groups on the server and 2 on the worker"),
        ({"present": present[1:]}, f"speaks of {len(present) - 1} parameters, the model has {len(present)}"),
        ({"grads": {**grads, 5: store.ranges.cut(5, flats)}}, "slot 5 is not held here"),
        ({"grads": {0: []}}, "the gradients of slot 0 came as []"),
        ({"grads": {0: [flat.double() for flat in grads[0]]}}, "torch.float64"),
    ]
    for changed, message in wrong:
        arguments = {"name": "opt", "groups": groups, "grads": grads, "present": present, **changed}
        with pytest.raises(StateError) as caught:
            store.apply(arguments.pop("name"), **arguments)
        assert message in str(caught.value)
    assert all(map(torch.equal, before, [flat for slot in range(4) for flat in store.params(slot)]))


def test_gradients_are_let_go_of_when_the_optimizer_fails():
    class Failing(optim.SGD):
        def step(self):
            raise ZeroDivisionError

    store, groups, present = store_of(Failing)
    begin_all(store)
    flats = gradients(store.layout, 0)
    grads = {slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}
    with pytest.raises(ZeroDivisionError):
        store.apply("opt", groups=groups, grads=grads, present=present)
    assert all(param.grad is None for group in store._optimizers["opt"].copy.param_groups for param in group["params"])


def test_a_state_that_does_not_fit_is_refused_and_changes_nothing():
    store, groups, present = store_of()
    begin_all(store)
    flats = gradients(store.layout, 0)
    store.apply(
        "opt", groups=groups, grads={slot: store.ranges.cut(slot, flats) for slot in range(SLOTS)}, present=present
    )
    good = store.snapshot(9)
    index = min(good.optimizers["opt"])
    entries = good.optimizers["opt"][index]
    wrong = [
        (SlotState(good.params[:-1], good.optimizers), "the parameters of slot 9 came as"),
        (SlotState([each.double() for each in good.params], good.optimizers), "torch.float64"),
        (SlotState([torch.stack([each, each], 1)[:, 0] for each in good.params], {}), "not contiguous"),
        (SlotState(good.params, {"adam": {}}), "the optimizers here are ['opt']"),
        (SlotState(good.params, {"opt": {99: {}}}), "for parameter 99, which is not in it"),
        (SlotState(good.params, {"opt": {index: []}}), "is a list, not a dict"),
        (SlotState(good.params, {"opt": {index: {**entries, "exp_avg": torch.ones(2)}}}), "has a tensor of shape (2,)"),
        (SlotState(good.params, {"opt": {index: {"deep": [{"in": (torch.ones(2),)}]}}}), "has a tensor of shape (2,)"),
    ]
    for state, message in wrong:
        with pytest.raises(StateError) as caught:
            store.install(9, state)
        assert message in str(caught.value)
    kept = store.snapshot(9)
    assert all(map(torch.equal, kept.params, good.params))
    assert torch.equal(kept.optimizers["opt"][index]["exp_avg"], entries["exp_avg"])


def test_parameters_outside_of_the_tracked_modules_are_refused():
    net, stray = Net(), nn.Parameter(torch.ones(3))
    layout = layout_of(net)
    with pytest.raises(ConfigError) as caught:
        DenseStore(layout, ranges=SlotRanges(layout), optimizers={"opt": optim.SGD([net.bias, stray], lr=0.1)})
    assert "opt updates 1 of its 2 parameters that are in no module given to join()" in str(caught.value)


def test_groups_are_those_of_the_whole_parameters():
    net = Net()
    layout = layout_of(net)
    optimizer = optim.SGD([{"params": [net.frozen, net.bias]}, {"params": [net.wide]}], lr=0.1)
    assert {layout.names[index]: number for index, number in groups_of(optimizer, layout).items()} == {
        "bias": 0,
        "wide": 1,
    }
