import pytest
import torch
from optimizer_samples import BOTH_DTYPES, ELEMENTWISE, FUSED
from store_samples import Cluster, Net, gradients, layout_of, options, slot_params, take, travelled
from torch import nn, optim

from pliant.errors import ProtocolError, StateError
from pliant.parallel.servers.optimizer_state import cut, gather, in_memory_order, join, same_bits, scatter
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.slot_state import SlotState
from pliant.transfer.capture import capture, restore
from pliant.transfer.spec import decode, encode
from pliant.wire.server_messages import SLOTS


def step_whole(optimizer, layout, numbers):
    for number in numbers:
        take(layout, gradients(layout, number), [True] * len(layout.params))
        optimizer.step()


def differing(left, right):
    """What differs between two captured states, by path."""
    mine, theirs = leaves(capture(left)), leaves(capture(right))
    assert mine.keys() == theirs.keys()
    return [path for path in mine if not same_bits(mine[path], theirs[path])]


def checkpointed(tracked):
    """What a checkpoint gives back: contiguous tensors of their own."""
    meta, tensors = encode(capture(tracked))
    return decode(meta, [tensor.clone() for tensor in tensors])


def made(make, dtype=torch.float32):
    net = Net(dtype)
    return net, make(list(net.parameters()))


@pytest.mark.parametrize(("name", "dtype"), BOTH_DTYPES, ids=str)
def test_a_job_may_change_its_strategy_at_checkpoints(name, dtype):
    make = {**ELEMENTWISE, **FUSED}[name]
    net, undisturbed = made(make, dtype)
    layout = layout_of(net)
    first_net, first = made(make, dtype)
    step_whole(undisturbed, layout, range(6))
    step_whole(first, layout_of(first_net), range(2))

    second_net, second = made(make, dtype)
    restore({"net": second_net, "opt": second}, checkpointed({"net": first_net, "opt": first}))
    cluster = Cluster(second_net, {"opt": second}, servers=2)
    for slot, server in enumerate(cluster.holder):
        states = scatter(second, slot=slot, layout=cluster.layout, ranges=cluster.ranges)
        state = SlotState(slot_params(cluster.layout, cluster.ranges, slot), {"opt": states})
        cluster.stores[server].install(slot, travelled(state))
    for number in (2, 3):
        present = [True] * len(layout.params)
        cluster.apply("opt", gradients(layout, number), groups=options(second), present=present)

    states = {slot: state.optimizers["opt"] for slot, state in cluster.states().items()}
    with torch.no_grad():
        for param, value in zip(cluster.layout.params, cluster.values(), strict=True):
            param.copy_(value)
    saved = checkpointed({"net": second_net, "opt": second})
    saved["opt"]["state"] = gather(second, states=states, layout=cluster.layout, ranges=cluster.ranges)
    last_net, last = made(make, dtype)
    restore({"net": last_net, "opt": last}, saved)
    step_whole(last, layout_of(last_net), (4, 5))
    for param in [*net.parameters(), *last_net.parameters()]:
        param.grad = None
    assert differing({"net": last_net, "opt": last}, {"net": net, "opt": undisturbed}) == []


@pytest.mark.parametrize("name", [*ELEMENTWISE, *FUSED])
def test_what_was_scattered_is_gathered(name):
    net, optimizer = made({**ELEMENTWISE, **FUSED}[name])
    layout = layout_of(net)
    ranges = SlotRanges(layout)
    for param in layout.params:  # one has none
        param.grad = None if param is net.other else torch.rand_like(param)
    optimizer.step()
    states = {slot: scatter(optimizer, slot=slot, layout=layout, ranges=ranges) for slot in range(SLOTS)}
    found = gather(optimizer, states=states, layout=layout, ranges=ranges)
    wanted = optimizer.state_dict()["state"]
    assert list(found) == [number for number in sorted(wanted) if wanted[number]]
    for number, entries in found.items():
        assert leaves(entries).keys() == leaves(wanted[number]).keys()
        for path, value in leaves(entries).items():
            assert same_bits(value, leaves(wanted[number])[path])
    assert not shared(found, states)
    assert not shared(states, wanted)


def leaves(value, path=""):
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {path: value}
    return {where: leaf for key, item in items for where, leaf in leaves(item, f"{path}/{key}").items()}


def shared(left, right):
    """Tensors of one that lie in memory of the other."""
    pointers = [
        {leaf.untyped_storage().data_ptr() for leaf in leaves(each).values() if isinstance(leaf, torch.Tensor)}
        for each in (left, right)
    ]
    return pointers[0] & pointers[1]


def test_gathered_tensors_have_the_strides_of_their_parameter():
    net, optimizer = made(ELEMENTWISE["adam"])
    layout = layout_of(net)
    ranges = SlotRanges(layout)
    step_whole(optimizer, layout, [0])
    states = {slot: scatter(optimizer, slot=slot, layout=layout, ranges=ranges) for slot in range(SLOTS)}
    found = gather(optimizer, states=states, layout=layout, ranges=ranges)
    for number, param in enumerate(net.parameters()):
        if param.requires_grad:
            assert found[number]["exp_avg"].stride() == param.stride()
            assert found[number]["step"].shape == ()


def test_only_slots_with_pieces_of_the_optimizers_parameters_are_needed():
    net = Net()
    layout = layout_of(net)
    ranges = SlotRanges(layout)
    optimizer = optim.SGD([net.frozen, net.wide], lr=0.1, momentum=0.9)
    net.wide.grad = torch.ones_like(net.wide)
    optimizer.step()
    index = layout.names.index("wide")
    needed = {piece.slot for piece in ranges.params[index]}
    assert 1 < len(needed) < SLOTS
    states = {slot: scatter(optimizer, slot=slot, layout=layout, ranges=ranges) for slot in needed}
    found = gather(optimizer, states=states, layout=layout, ranges=ranges)
    assert list(found) == [1]
    assert torch.equal(found[1]["momentum_buffer"], torch.ones_like(net.wide))
    del states[max(needed)]
    with pytest.raises(StateError, match=rf"parameter wide lies in slots \[{max(needed)}\] too"):
        gather(optimizer, states=states, layout=layout, ranges=ranges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.update(step=torch.tensor(7.0)), "they are at different updates"),
        (lambda entries: entries.update(step=7.0), "differs in kind between slots: ['Tensor', 'float']"),
        (lambda entries: entries.pop("exp_avg"), "they are at different updates"),
        (lambda entries: entries.update(exp_avg=torch.ones(1)), "neither one number nor one for each element"),
        (lambda entries: entries.update(exp_avg=entries["exp_avg"].double()), "torch.float64"),
    ],
)
def test_pieces_that_do_not_fit_each_other_are_refused(change, message):
    net, optimizer = made(ELEMENTWISE["adam"])
    layout = layout_of(net)
    ranges = SlotRanges(layout)
    step_whole(optimizer, layout, [0])
    states = {slot: scatter(optimizer, slot=slot, layout=layout, ranges=ranges) for slot in range(SLOTS)}
    index = layout.names.index("wide")
    change(states[ranges.params[index][-1].slot][index])
    with pytest.raises(StateError) as caught:
        gather(optimizer, states=states, layout=layout, ranges=ranges)
    assert message in str(caught.value)
    assert "parameter wide" in str(caught.value)


def test_state_of_some_pieces_only_is_refused():
    net, optimizer = made(ELEMENTWISE["adam"])
    layout = layout_of(net)
    ranges = SlotRanges(layout)
    step_whole(optimizer, layout, [0])
    states = {slot: scatter(optimizer, slot=slot, layout=layout, ranges=ranges) for slot in range(SLOTS)}
    index = layout.names.index("wide")
    del states[ranges.params[index][0].slot][index]
    with pytest.raises(StateError, match=r"differs in kind between slots: \['NoneType', 'dict'\]"):
        gather(optimizer, states=states, layout=layout, ranges=ranges)


def test_memory_order_is_a_view_where_strides_agree():
    param = nn.Parameter(torch.zeros(4, 3, 5, 5).to(memory_format=torch.channels_last))
    state = torch.rand(4, 3, 5, 5).to(memory_format=torch.channels_last)
    assert in_memory_order(state, param).data_ptr() == state.data_ptr()
    other = in_memory_order(state.contiguous(), param)
    assert torch.equal(other, in_memory_order(state, param))
    assert torch.equal(other, state.permute(0, 2, 3, 1).reshape(-1))


def test_bits_are_compared():
    nan, zero = torch.tensor([float("nan")]), torch.tensor([0.0])
    assert same_bits(nan, nan.clone())
    assert same_bits(float("nan"), float("nan"))
    assert not same_bits(zero, -zero)
    assert not same_bits(zero, zero.double())
    assert not same_bits(zero, torch.zeros(()))
    assert not same_bits(1, 1.0)
    assert not same_bits(zero, 0.0)
    for dtype in (torch.bool, torch.complex64, torch.int64, torch.bfloat16):
        assert same_bits(torch.ones(3, dtype=dtype), torch.ones(3, dtype=dtype))
        assert not same_bits(torch.ones(3, dtype=dtype), torch.zeros(3, dtype=dtype))


def test_cut_and_join_refuse_what_is_no_state():
    param = torch.zeros(40)
    with pytest.raises(StateError, match=r"the state is a tensor of shape \(4,\), the parameter has \(40,\)"):
        cut(torch.zeros(4), 0, 16, param=param, where="the state")
    with pytest.raises(StateError, match="the state, 'deep', is a object; only numbers"):
        cut({"deep": [object()]}, 0, 16, param=param, where="the state")
    bounds = [(0, 16), (16, 40)]
    with pytest.raises(StateError, match=r"the state has lengths \[1, 2\]"):
        join([[1], [1, 2]], bounds, param=param, where="the state")
    with pytest.raises(StateError, match="the state is a object"):
        join([object(), object()], bounds, param=param, where="the state")


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"params": []}, {"params": {}, "optimizers": {}}, {"params": [1], "optimizers": {}},
     {"params": [], "optimizers": []}, {"params": [], "optimizers": {"opt": []}}],
)  # fmt: skip
def test_what_is_no_state_of_a_slot_is_refused(value):
    with pytest.raises(ProtocolError, match="what came as the state of a slot is none"):
        SlotState.from_plain(value)
