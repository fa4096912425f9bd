import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from table_model import TableModel, grads_for, ids_of, raw, raw_all

from pliant.errors import ConfigError, MemoryLimitError, ProtocolError
from pliant.parallel.tables.arena import Arena
from pliant.parallel.tables.budget import Budget
from pliant.parallel.tables.init_rows import initial_rows
from pliant.parallel.tables.row_store import RowStore
from pliant.transfer.row_slots import slot_of
from pliant.transfer.spec import decode, encode
from pliant.wire.server_messages import SLOTS
from pliant.wire.tables import RowAdagrad, RowAdam, RowInit, RowSGD, TableSpec

SPEC = TableSpec(name="users", dim=3, optimizer=RowAdagrad(lr=0.05), seed=3)
OPTIMIZERS = [RowSGD(lr=0.1), RowSGD(lr=0.1, momentum=0.9), RowAdagrad(lr=0.05), RowAdam(lr=0.01)]
SPECS = st.builds(
    TableSpec,
    name=st.just("users"),
    dim=st.integers(1, 5),
    optimizer=st.sampled_from(OPTIMIZERS),
    init=st.sampled_from([RowInit("uniform", 0.1), RowInit("normal", 0.1), RowInit("zeros")]),
    expire_after_steps=st.sampled_from([None, 1, 3]),
    min_count=st.sampled_from([1, 1, 2, 3]),
)
IDS = st.one_of(st.integers(0, 12), st.sampled_from([-(2**63), 2**63 - 1]))
USED_SLOTS = sorted(set(slot_of(np.array([*range(13), -(2**63), 2**63 - 1], np.int64)).tolist()))
BATCHES = st.lists(st.sets(IDS, max_size=8), max_size=12)


def changed(**values):
    return msgspec.structs.replace(SPEC, **values)


def trained(spec, steps=3, rows=200, **more):
    store = RowStore(spec, **more)
    for step in range(1, steps + 1):
        ids = ids_of(range(0, rows, step))
        store.push(ids, grads_for(ids, spec.dim, step), step=step)
    return store


def everything(store):
    return {slot: raw_all(store.snapshot(slot)) for slot in range(SLOTS)}


@given(SPECS, BATCHES, st.data())
def test_a_store_is_a_dict_of_rows(spec, batches, data):
    """With sweeps in between, whenever: they are not to be noticed."""
    store, model = RowStore(spec), TableModel(spec)
    for step, numbers in enumerate(batches, start=1):
        if data.draw(st.booleans()):
            store.sweep(step)
        ids = ids_of(numbers | data.draw(st.sets(IDS, max_size=4)))
        assert raw(store.pull(ids, step=step)) == raw(model.pull(ids, step))
        ids = ids_of(numbers)
        grads = grads_for(ids, spec.dim, step)
        store.push(ids, grads, step=step)
        model.push(ids, grads, step)
    end = len(batches) + 1
    store.sweep(end)
    kept = [one for one in model.known if model.live(one, end).values is not None]
    assert store.rows == len(kept)
    assert raw(store.pull(ids_of(kept), step=end)) == raw(model.pull(ids_of(kept), end))


@settings(max_examples=40)
@given(SPECS, BATCHES, st.randoms(use_true_random=False))
def test_where_a_slot_was_makes_no_difference(spec, batches, chance):
    """Two servers with slots that move between them hold, together, what one alone does."""
    alone, pair = RowStore(spec), [RowStore(spec), RowStore(spec)]
    holder = [chance.randrange(2) for _ in range(SLOTS)]
    for step, numbers in enumerate(batches, start=1):
        for slot in chance.sample(USED_SLOTS, 5):
            value = pair[holder[slot]].snapshot(slot)
            encoded = encode(value)
            pair[holder[slot]].drop(slot)
            holder[slot] = chance.randrange(2)
            pair[holder[slot]].install(slot, decode(encoded.meta, [tensor.clone() for tensor in encoded.tensors]))
        if chance.random() < 0.3:
            pair[0].sweep(step)
        ids = ids_of(numbers)
        grads = grads_for(ids, spec.dim, step)
        alone.push(ids, grads, step=step)
        owner = torch.tensor([holder[slot] for slot in slot_of(ids.numpy())], dtype=torch.int64)
        for server, store in enumerate(pair):
            store.push(ids[owner == server], grads[owner == server], step=step)
    for store in (alone, *pair):
        store.sweep(len(batches) + 1)
    for slot in range(SLOTS):
        assert raw_all(pair[holder[slot]].snapshot(slot)) == raw_all(alone.snapshot(slot))
        assert not len(pair[1 - holder[slot]].snapshot(slot)["ids"])


def test_looking_changes_nothing():
    store = RowStore(SPEC)
    assert raw(store.pull(ids_of([5, 6]), step=1)) == raw(torch.from_numpy(initial_rows(SPEC, np.array([5, 6]))))
    assert store.rows == 0


def test_what_was_pulled_is_a_copy():
    store = trained(SPEC)
    before = everything(store)
    store.pull(ids_of(range(50)), step=9).zero_()
    assert everything(store) == before


def test_batches_of_more_than_a_block_are_the_same():
    spec = changed(dim=64)
    ids = torch.arange(5000)
    grads = torch.randn(5000, 64, generator=torch.Generator().manual_seed(1))
    whole, parts = RowStore(spec), RowStore(spec)
    for step in (1, 2):
        whole.push(ids, grads, step=step)
        for start in range(0, 5000, 77):
            parts.push(ids[start : start + 77], grads[start : start + 77], step=step)
    assert raw(whole.pull(ids, step=3)) == raw(parts.pull(ids, step=3))


def test_gradients_may_be_views_and_belong_to_a_graph():
    one, other = RowStore(SPEC), RowStore(SPEC)
    wide = torch.randn(4, 6, generator=torch.Generator().manual_seed(2), requires_grad=True)
    one.push(ids_of(range(4)), wide[:, ::2], step=1)
    other.push(ids_of(range(4)), wide.detach()[:, ::2].clone(), step=1)
    assert everything(one) == everything(other)


def test_rows_appear_when_seen_often_enough():
    spec = changed(min_count=3)
    store = RowStore(spec)
    ids, grads = ids_of([7]), torch.ones(1, 3)
    for step in (1, 2):
        store.push(ids, grads, step=step)
        assert store.rows == 0
        assert raw(store.pull(ids, step=step + 1)) == raw(torch.from_numpy(initial_rows(spec, np.array([7]))))
    store.push(ids, grads, step=3)
    once = RowStore(SPEC)
    once.push(ids, grads, step=3)
    assert store.rows == 1
    assert raw(store.pull(ids, step=4)) == raw(once.pull(ids, step=4))


def test_rows_expire_with_the_steps():
    store = RowStore(changed(expire_after_steps=5))
    ids, grads = ids_of([7]), torch.ones(1, 3)
    first = store.pull(ids, step=1)
    store.push(ids, grads, step=1)
    assert not torch.equal(store.pull(ids, step=6), first)
    assert torch.equal(store.pull(ids, step=7), first)
    assert store.sweep(6) == 0
    assert store.sweep(7) == 1
    assert store.rows == 0


def test_a_late_update_does_not_make_a_row_older():
    store = RowStore(changed(expire_after_steps=5))
    ids, grads = ids_of([7]), torch.ones(1, 3)
    store.push(ids, grads, step=10)
    store.push(ids, grads, step=8)
    assert store.snapshot(slot_of(ids.numpy())[0])["touched"].tolist() == [10]


def test_a_limit_refuses_before_it_is_reached_and_changes_nothing():
    budget = Budget(200_000)
    store = trained(SPEC, rows=1000, budget=budget)
    before = everything(store)
    ids = torch.arange(500, 5000)
    with pytest.raises(MemoryLimitError, match=r"table users: 4,000 more rows beside the 1,000 .* 0.2 MB"):
        store.push(ids, torch.ones(len(ids), 3), step=9)
    assert everything(store) == before
    assert store.size_bytes <= 200_000
    store.push(ids[:500], torch.ones(500, 3), step=9)


def test_a_limit_is_never_passed():
    budget = Budget(300_000)
    store = RowStore(changed(min_count=2), budget=budget)
    refused = 0
    for step in range(200):
        ids = torch.arange(step // 2 * 50, step // 2 * 50 + 50)
        try:
            store.push(ids, torch.ones(50, 3), step=step)
        except MemoryLimitError:
            refused += 1
        assert store.size_bytes <= 300_000
    assert refused
    assert store.size_bytes > 100_000


def test_tables_share_a_limit():
    budget = Budget(200_000)
    trained(SPEC, rows=1000, budget=budget)
    other = RowStore(changed(name="items"), budget=budget)
    used = budget.used_bytes
    with pytest.raises(MemoryLimitError, match="table items"):
        other.push(torch.arange(4000), torch.ones(4000, 3), step=1)
    assert budget.used_bytes == used


def test_max_rows():
    store = trained(changed(max_rows=250))
    with pytest.raises(MemoryLimitError, match="51 more rows beside the 200"):
        store.push(torch.arange(200, 251), torch.ones(51, 3), step=9)
    store.push(torch.arange(150, 250), torch.ones(100, 3), step=9)
    assert store.rows == 250


def test_an_install_that_finds_no_room_changes_nothing():
    value = trained(SPEC, rows=40_000).snapshot(5)
    store = trained(SPEC, rows=300, budget=Budget(60_000))
    before = everything(store)
    with pytest.raises(MemoryLimitError):
        store.install(5, value)
    assert everything(store) == before


def test_a_full_store_takes_a_slot_again():
    store = trained(changed(max_rows=200))
    before = everything(store)
    store.install(5, store.snapshot(5))
    assert everything(store) == before


def test_memory_comes_back_with_the_rows():
    store = trained(SPEC, rows=60_000)
    full = store.size_bytes
    for slot in range(60):
        store.drop(slot)
    assert store.size_bytes < full / 8


BAD_SNAPSHOTS = {
    "a key too few": lambda value: value.pop("touched"),
    "a key too many": lambda value: value.update(more=torch.zeros(3)),
    "a shape": lambda value: value.update(rows=value["rows"][:, :2]),
    "rows missing": lambda value: value.update(rows=value["rows"][:-1]),
    "a dtype": lambda value: value.update(ids=value["ids"].to(torch.int32)),
    "the order": lambda value: value.update(ids=value["ids"].flip(0)),
    "another slot": lambda value: value["ids"].add_(1),
    "no dimension": lambda value: value.update(ids=torch.tensor(3)),
}


@pytest.mark.parametrize("fault", BAD_SNAPSHOTS)
def test_bad_snapshots_are_refused_and_change_nothing(fault):
    store = trained(SPEC)
    before = everything(store)
    value = store.snapshot(5)
    BAD_SNAPSHOTS[fault](value)
    with pytest.raises(ProtocolError, match="table users"):
        store.install(5, value)
    assert everything(store) == before


@pytest.mark.parametrize(
    ("ids", "grads"),
    [
        (torch.tensor([1, 1]), torch.ones(2, 3)),
        (torch.tensor([2, 1]), torch.ones(2, 3)),
        (torch.tensor([1, 2]), torch.ones(2, 4)),
        (torch.tensor([1, 2]), torch.ones(3, 3)),
        (torch.tensor([1, 2]), torch.ones(2, 3, dtype=torch.float64)),
        (torch.tensor([1, 2], dtype=torch.int32), torch.ones(2, 3)),
        (torch.tensor([[1, 2]]), torch.ones(2, 3)),
    ],
)
def test_bad_pushes_are_refused_and_change_nothing(ids, grads):
    store = trained(SPEC)
    before = everything(store)
    with pytest.raises(ProtocolError, match="table users"):
        store.push(ids, grads, step=9)
    assert everything(store) == before


def test_a_pull_is_checked_as_well():
    with pytest.raises(ProtocolError, match="ids must rise, and 2 is followed by 1"):
        RowStore(SPEC).pull(torch.tensor([2, 1]), step=1)


def test_an_impossible_spec_is_refused():
    with pytest.raises(ConfigError, match="dim=0"):
        RowStore(changed(dim=0))


@settings(max_examples=20)
@given(st.sampled_from(OPTIMIZERS), st.integers(1, 2))
def test_empty_batches_are_no_problem(optimizer, min_count):
    spec = changed(optimizer=optimizer, min_count=min_count, expire_after_steps=3)
    store = RowStore(spec)
    store.push(ids_of([]), torch.empty(0, 3), step=1)
    assert store.pull(ids_of([]), step=1).shape == (0, 3)
    assert store.sweep(9) == 0
    assert {len(tensor) for tensor in store.snapshot(0).values()} == {0}


def test_a_table_that_has_rows_joins_a_budget():
    store, dense = trained(SPEC, rows=1000), trained(changed(name="items"), rows=1000)
    budget = Budget(dense.size_bytes + store.size_bytes + 10_000)
    budget.add(dense)
    store.share(budget)
    assert budget.used_bytes == dense.size_bytes + store.size_bytes
    many = ids_of(range(5000, 9000))
    with pytest.raises(MemoryLimitError, match="table users: 4,000 more rows beside the 1,000"):
        store.push(many, grads_for(many, 3, 0), step=9)
    assert store.rows == 1000


def test_the_system_has_no_memory_for_more_rows(monkeypatch):
    store = trained(SPEC, rows=100)
    before = store.size_bytes

    def refuse(*_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(Arena, "reserve", refuse)
    with pytest.raises(MemoryLimitError, match="table users: the system has no memory for 10 more rows beside the 100"):
        store.push(ids_of(range(500, 510)), grads_for(ids_of(range(500, 510)), 3, 0), step=9)
    assert (store.rows, store.size_bytes) == (100, before)
