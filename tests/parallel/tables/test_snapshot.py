import msgspec
import pytest
import torch
from table_model import grads_for, ids_of, raw_all

from pliant.errors import ProtocolError
from pliant.parallel.tables.row_store import RowStore
from pliant.parallel.tables.snapshot import SlotParts, check_columns, check_snapshot, join_snapshots
from pliant.wire.server_messages import SLOTS
from pliant.wire.tables import RowAdam, RowSGD, TableSpec

SPEC = TableSpec(name="users", dim=3, optimizer=RowAdam(lr=0.05), min_count=2)


def parts():
    store = RowStore(SPEC)
    for step, numbers in enumerate([range(100), range(50), range(20, 70)]):
        store.push(ids_of(numbers), grads_for(ids_of(numbers), 3, step), step=step)
    return {slot: store.snapshot(slot) for slot in range(SLOTS)}


def test_joined_and_cut_again_is_the_same():
    found = parts()
    joined = join_snapshots(found.values())
    assert sorted(joined["ids"].tolist()) == list(range(70))
    assert sorted(joined["pending.ids"].tolist()) == list(range(70, 100))
    again = SlotParts(joined)
    for slot, value in found.items():
        part = again.of(slot)
        check_snapshot(SPEC, part, slot=slot)
        assert raw_all(part) == raw_all(value)
        assert all(tensor.untyped_storage().data_ptr() == joined[key].untyped_storage().data_ptr()
                   for key, tensor in part.items())  # fmt: skip


def test_rows_in_another_order_are_cut_as_well():
    found = parts()
    joined = join_snapshots(found.values())
    order = torch.argsort(joined["ids"])
    for key in [key for key in joined if not key.startswith("pending.")]:
        joined[key] = joined[key][order]
    again = SlotParts(joined)
    assert {slot: raw_all(again.of(slot)) for slot in found} == {slot: raw_all(v) for slot, v in found.items()}


def test_an_id_that_is_there_twice_is_found():
    value = parts()[3]
    twice = {key: torch.cat([tensor, tensor]) for key, tensor in value.items()}
    with pytest.raises(ProtocolError, match="ids must rise"):
        check_snapshot(SPEC, twice, slot=3)
    with pytest.raises(ProtocolError, match="a snapshot of slot 4 has rows of other slots"):
        check_snapshot(SPEC, value, slot=4)


def test_columns_of_another_table_are_refused():
    found = {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in parts()[3].items()}
    check_columns(SPEC, found)
    with pytest.raises(ProtocolError, match="a snapshot has"):
        check_columns(msgspec.structs.replace(SPEC, optimizer=RowSGD(lr=0.1)), found)
    with pytest.raises(ProtocolError, match=r"rows of a snapshot is torch.float32 \(\d, 3\)"):
        check_columns(msgspec.structs.replace(SPEC, dim=4), found)


def test_nothing_is_cut_into_nothing():
    nothing = join_snapshots([RowStore(SPEC).snapshot(0)])
    assert torch.equal(nothing["ids"], ids_of([]))
    assert raw_all(SlotParts(nothing).of(5)) == raw_all(nothing)
