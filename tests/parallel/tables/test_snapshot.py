import pytest
import torch
from table_model import grads_for, ids_of, raw_all

from pliant.errors import ProtocolError
from pliant.parallel.tables.row_store import RowStore
from pliant.parallel.tables.snapshot import check_snapshot, join_snapshots, split_snapshot
from pliant.wire.server_messages import SLOTS
from pliant.wire.tables import RowAdam, TableSpec

SPEC = TableSpec(name="users", dim=3, optimizer=RowAdam(lr=0.05), min_count=2)


def parts():
    store = RowStore(SPEC)
    for step, numbers in enumerate([range(100), range(50), range(20, 70)]):
        store.push(ids_of(numbers), grads_for(ids_of(numbers), 3, step), step=step)
    return {slot: store.snapshot(slot) for slot in range(SLOTS)}


def test_joined_and_split_again_is_the_same():
    found = parts()
    joined = join_snapshots(found.values())
    assert joined["ids"].tolist() == list(range(70))
    assert joined["pending.ids"].tolist() == list(range(70, 100))
    check_snapshot(SPEC, joined)
    again = split_snapshot(joined)
    kept = {slot: value for slot, value in found.items() if len(value["ids"]) or len(value["pending.ids"])}
    assert list(again) == list(kept)
    assert {slot: raw_all(value) for slot, value in again.items()} == {s: raw_all(v) for s, v in kept.items()}


def test_the_order_of_the_parts_does_not_matter():
    found = list(parts().values())
    assert raw_all(join_snapshots(found)) == raw_all(join_snapshots(found[::-1]))


def test_an_id_that_is_there_twice_is_found():
    value = join_snapshots([*parts().values(), *parts().values()])
    with pytest.raises(ProtocolError, match="ids must rise, and 0 is followed by 0"):
        check_snapshot(SPEC, value)


def test_nothing_splits_into_nothing():
    assert split_snapshot(RowStore(SPEC).snapshot(0)) == {}
    assert torch.equal(join_snapshots([RowStore(SPEC).snapshot(0)])["ids"], ids_of([]))
