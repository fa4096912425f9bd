"""Tables out of checkpoints into files, a part at a time."""

import sys

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

import pliant
from pliant.errors import CheckpointError, ConfigError
from pliant.parallel.tables.snapshot import SlotParts
from pliant.transfer import table_files
from pliant.transfer.checkpoint_manifest import check_checkpoint
from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint
from pliant.transfer.table_files import map_stored_table, write_parquet_table, write_safetensors_table

OPTIMIZERS = [pliant.RowSGD(lr=0.1), pliant.RowAdagrad(lr=0.1, initial=0.25), pliant.RowAdam(lr=0.1)]
_TWO = (2).to_bytes(8, "little")
POSITION = dict.fromkeys(("step", "call", "step_of_call", "passes", "epoch", "samples"), 4) | {
    "loss": None,
    "ended": [],
}


@pytest.fixture(params=[7, 1 << 17], autouse=True)
def rows_at_a_time(request, monkeypatch):
    monkeypatch.setattr(table_files, "_ROWS_AT_A_TIME", request.param)


def table_with(rows, optimizer=OPTIMIZERS[1]):
    table = pliant.Embedding("users", 3, optimizer=optimizer, min_count=2)
    for step, stop in enumerate([rows - 50, rows // 2]):
        ids = torch.arange(-50, stop)
        table.store.push(ids, torch.randn(len(ids), 3), step=step)
    return table


def columns_of(table, directory):
    snapshot = take_snapshot({"table": table}, POSITION, job="clicks", staging=Staging())
    path = write_checkpoint(directory / "checkpoints", snapshot, keep=1)[0]
    return map_stored_table(path, check_checkpoint(path), "users")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rows", [0, 150])
def test_safetensors_have_all_of_it(tmp_path, optimizer, rows):
    table = table_with(rows, optimizer)
    path = tmp_path / "users.safetensors"
    assert len(write_safetensors_table(path, columns_of(table, tmp_path))) == 64
    found, wanted = load_file(path), table.get_extra_state()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    assert (len(wanted["ids"]) > 0) == (rows > 0)
    again = pliant.Embedding("users", 3, optimizer=optimizer, min_count=2)
    again.set_extra_state(found)
    assert again.row_digests() == table.row_digests()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rows", [0, 150])
def test_parquet_has_the_rows(tmp_path, optimizer, rows):
    table = table_with(rows, optimizer)
    path = tmp_path / "users.parquet"
    write_parquet_table(path, columns_of(table, tmp_path))
    found, wanted = pyarrow.parquet.read_table(path), table.get_extra_state()
    state = [key for key in wanted if key.startswith("state.")]
    assert found.column_names == ["id", "row", "touched", *state]
    for name, key in [("id", "ids"), ("row", "rows"), ("touched", "touched"), *zip(state, state, strict=True)]:
        assert found[name].to_pylist() == wanted[key].tolist()


def test_rows_come_slot_by_slot(tmp_path):
    table = table_with(150)
    write_safetensors_table(tmp_path / "a", columns_of(table, tmp_path))
    parts = SlotParts(load_file(tmp_path / "a"))
    for slot in range(64):
        assert torch.equal(parts.of(slot)["rows"], table.store.snapshot(slot)["rows"])


def test_a_file_is_not_overwritten(tmp_path):
    columns = columns_of(table_with(9), tmp_path)
    write_safetensors_table(tmp_path / "a", columns)
    with pytest.raises(FileExistsError):
        write_safetensors_table(tmp_path / "a", columns)


@pytest.mark.parametrize("content", [None, b"", b"x", b"\xff" * 20, _TWO + b"{}", _TWO + b"[]"])
def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path, content):
    columns_of(table_with(150), tmp_path)
    directory = tmp_path / "checkpoints" / "step-00000004"
    manifest = check_checkpoint(directory)
    path = directory / "state.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"table users cannot be read from {path}"):
        map_stored_table(directory, manifest, "users")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'pliant\[parquet\]'"):
        write_parquet_table(tmp_path / "users.parquet", columns_of(table_with(9), tmp_path))
