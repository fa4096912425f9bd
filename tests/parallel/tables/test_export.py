import sys

import msgspec
import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file
from table_model import grads_for, ids_of, raw_all

from pliant.errors import ConfigError, StateError
from pliant.parallel.tables.export import (
    read_table_parquet,
    read_table_safetensors,
    write_table_parquet,
    write_table_safetensors,
)
from pliant.parallel.tables.row_store import RowStore
from pliant.parallel.tables.snapshot import join_snapshots, split_snapshot
from pliant.wire.server_messages import SLOTS
from pliant.wire.tables import PENDING, RowAdagrad, RowAdam, RowSGD, TableSpec

OPTIMIZERS = [RowSGD(lr=0.1), RowAdagrad(lr=0.1, initial=0.25), RowAdam(lr=0.1)]
SPEC = TableSpec(name="users", dim=3, optimizer=RowAdagrad(lr=0.1, initial=0.25), min_count=2)


def table(optimizer=SPEC.optimizer, rows=150):
    spec = msgspec.structs.replace(SPEC, optimizer=optimizer)
    store = RowStore(spec)
    for step, numbers in enumerate([range(-50, rows - 50), range(-50, rows // 2)]):
        store.push(ids_of(numbers), grads_for(ids_of(numbers), 3, step), step=step)
    return spec, join_snapshots(store.snapshot(slot) for slot in range(SLOTS))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rows", [0, 150])
def test_safetensors_and_back(tmp_path, optimizer, rows):
    spec, value = table(optimizer, rows)
    path = tmp_path / "users.safetensors"
    assert len(write_table_safetensors(path, value)) == 64
    assert raw_all(read_table_safetensors(path, spec)) == raw_all(value)
    assert raw_all(load_file(path)) == raw_all(value)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rows", [0, 150])
def test_parquet_and_back(tmp_path, optimizer, rows):
    spec, value = table(optimizer, rows)
    path = tmp_path / "users.parquet"
    write_table_parquet(path, value)
    found = raw_all(read_table_parquet(path, spec))
    for key, expected in raw_all(value).items():
        if not key.startswith(PENDING):
            assert found[key] == expected
    assert found[PENDING + "ids"] == raw_all({"": torch.empty(0, dtype=torch.int64)})[""]


def test_other_programs_read_the_parquet_file(tmp_path):
    _, value = table()
    path = tmp_path / "users.parquet"
    write_table_parquet(path, value)
    read = pyarrow.parquet.read_table(path)
    assert read.column_names == ["id", "row", "touched", "state.sum"]
    first = read.slice(0, 1).to_pylist()[0]
    assert first["id"] == -50
    assert first["row"] == value["rows"][0].tolist()
    assert first["state.sum"] == value["state.sum"][0].tolist()


def test_a_store_goes_on_from_a_file(tmp_path):
    spec, value = table()
    path = tmp_path / "users.safetensors"
    write_table_safetensors(path, value)
    store = RowStore(spec)
    for slot, part in split_snapshot(read_table_safetensors(path, spec)).items():
        store.install(slot, part)
    assert raw_all(join_snapshots(store.snapshot(slot) for slot in range(SLOTS))) == raw_all(value)


def test_rows_of_another_program_are_read_in_any_order(tmp_path):
    path = tmp_path / "theirs.parquet"
    rows = pyarrow.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    pyarrow.parquet.write_table(pyarrow.table({"row": rows, "id": pyarrow.array([9, 2]), "more": ["a", "b"]}), path)
    value = read_table_parquet(path, SPEC)
    assert value["ids"].tolist() == [2, 9]
    assert value["rows"].tolist() == [[4.0, 5.0, 6.0], [1.0, 2.0, 3.0]]
    assert value["touched"].tolist() == [0, 0]
    assert value["state.sum"].tolist() == [[0.25] * 3] * 2


BAD_COLUMNS = {
    "no row": ({"id": [1]}, "no column row"),
    "neither": ({"x": [1]}, "no column id and no column row"),
    "dim": ({"id": [1], "row": [[1.0, 2.0]]}, "rows of table users"),
    "more of dim": ({"id": [1], "row": [[1.0, 2.0, 3.0, 4.0]]}, "rows of table users"),
    "uneven": ({"id": [1, 2], "row": [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0]]}, "rows of table users"),
    "text": ({"id": ["one"], "row": [[1.0, 2.0, 3.0]]}, "rows of table users"),
    "no list": ({"id": [1], "row": [1.0]}, "rows of table users"),
    "a hole": ({"id": [1, None], "row": [[1.0, 2.0, 3.0]] * 2}, "places without a value"),
    "a hole in a row": ({"id": [1], "row": [[1.0, None, 3.0]]}, "places without a value"),
    "twice": ({"id": [1, 1], "row": [[1.0, 2.0, 3.0]] * 2}, "ids must rise, and 1 is followed by 1"),
}


@pytest.mark.parametrize("fault", BAD_COLUMNS)
def test_files_that_do_not_fit_are_refused(tmp_path, fault):
    columns, message = BAD_COLUMNS[fault]
    path = tmp_path / "theirs.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(StateError, match=message) as caught:
        read_table_parquet(path, SPEC)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("name", "read"), [("a.parquet", read_table_parquet), ("a.st", read_table_safetensors)])
def test_files_that_are_none_are_refused(tmp_path, name, read):
    path = tmp_path / name
    path.write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(StateError, match="cannot be read as"):
        read(path, SPEC)


def test_the_snapshot_of_another_table_is_refused(tmp_path):
    spec, value = table()
    path = tmp_path / "users.safetensors"
    write_table_safetensors(path, value)
    with pytest.raises(StateError, match="does not fit: table users: a snapshot has"):
        read_table_safetensors(path, msgspec.structs.replace(spec, optimizer=RowSGD(lr=0.1)))


def test_a_file_is_not_overwritten(tmp_path):
    _, value = table()
    write_table_safetensors(tmp_path / "a", value)
    with pytest.raises(FileExistsError):
        write_table_safetensors(tmp_path / "a", value)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'pliant\[parquet\]'"):
        write_table_parquet(tmp_path / "users.parquet", table()[1])
