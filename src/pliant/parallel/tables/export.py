"""Snapshots of tables as files for other programs, and back: safetensors, and Parquet where pyarrow is installed.

Safetensors: the tensors of a snapshot under its keys (``snapshot.py``), all of them. Parquet: a row of the file for
each row of the table, with the columns ``id`` (int64), ``row`` (a list of ``dim`` float32), ``touched`` (int64), and
one list for each state of the optimizer, ``state.NAME``. Ids that were counted and have no row yet are not in it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pliant.errors import ConfigError, ProtocolError, StateError
from pliant.parallel.tables.row_optimizers import state_columns
from pliant.parallel.tables.snapshot import PENDING, STATE, Snapshot, check_snapshot, columns_of
from pliant.transfer.safetensors_file import Entry, write_safetensors
from pliant.wire.tables import TableSpec

_ROWS_PER_GROUP = 1 << 17
_PARQUET_NAMES = {"ids": "id", "rows": "row"}
"""Of what is named in the singular in a table of rows."""
_READ_ERRORS = (AttributeError, RuntimeError, TypeError, ValueError)
"""What columns of an unexpected type lead to."""


def write_table_safetensors(path: Path, value: Snapshot) -> str:
    """Write a new file and flush it to disk; returns its SHA-256 in hex. Blocking.

    On failure: what was written so far stays.

    Raises:
        OSError: Disk full and the like; ``FileExistsError`` if there is such a file.
    """
    return write_safetensors(path, [_entry(key, tensor.contiguous()) for key, tensor in value.items()])


def read_table_safetensors(path: Path, spec: TableSpec) -> Snapshot:
    """What :func:`write_table_safetensors` wrote. Blocking.

    Raises:
        StateError: The file is damaged, or has no snapshot of such a table.
        OSError: It cannot be read.
    """
    try:
        value: Snapshot = load_file(path)
    except SafetensorError as error:
        raise StateError(f"{path} cannot be read as safetensors: {error}") from error
    return _checked(path, spec, value)


def write_table_parquet(path: Path, value: Snapshot) -> None:
    """Write a new file, or in place of an older one. Blocking.

    On failure: what was written so far stays.

    Raises:
        ConfigError: pyarrow is not installed.
        OSError: Disk full and the like.
    """
    arrow, parquet = _pyarrow(path)
    columns: dict[str, Any] = {}
    for key, tensor in value.items():
        if not key.startswith(PENDING):
            flat = arrow.array(tensor.contiguous().reshape(-1).numpy())
            lists = tensor.dim() == 2
            width = tensor.shape[-1]
            columns[_PARQUET_NAMES.get(key, key)] = arrow.FixedSizeListArray.from_arrays(flat, width) if lists else flat
    parquet.write_table(arrow.table(columns), str(path), row_group_size=_ROWS_PER_GROUP)


def read_table_parquet(path: Path, spec: TableSpec) -> Snapshot:
    """What :func:`write_table_parquet` wrote, or any file with the columns ``id`` and ``row``. Blocking.

    Ids may come in any order. Where there is no column for them, the optimizer's state is that of a new row and
    ``touched`` is 0. Other columns are not looked at.

    Raises:
        ConfigError: pyarrow is not installed.
        StateError: The file is damaged, or has no rows of such a table.
        OSError: It cannot be read.
    """
    arrow, parquet = _pyarrow(path)
    try:
        table = parquet.read_table(str(path))
        found = {
            key: _column(arrow, table[name], dtype=dtype, shape=shape)
            for key, (dtype, shape) in columns_of(spec).items()
            if (name := _PARQUET_NAMES.get(key, key)) in table.column_names
        }
    except (arrow.ArrowException, *_READ_ERRORS) as error:
        raise StateError(f"{path} cannot be read as rows of table {spec.name}: {error}") from error
    missing = [_PARQUET_NAMES[key] for key in _PARQUET_NAMES if key not in found]
    if missing:
        raise StateError(f"{path} has no column {' and no column '.join(missing)}, only {table.column_names}")
    order = torch.argsort(found["ids"])
    value = {key: tensor.index_select(0, order) for key, tensor in found.items()}
    return _checked(path, spec, _completed(spec, value))


def _entry(key: str, tensor: torch.Tensor) -> Entry:
    flat = tensor.reshape(-1).view(torch.uint8)
    return Entry(key, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), flat.numpy().data)


def _column(arrow: Any, column: Any, *, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    joined = column.combine_chunks()
    item = arrow.int64() if dtype == torch.int64 else arrow.float32()
    joined = joined.cast(arrow.list_(item, *shape) if shape else item)
    numbers = joined.flatten() if shape else joined
    if joined.null_count or numbers.null_count:
        raise ValueError("there are places without a value")
    # A copy: what pyarrow gives may not be written to.
    return torch.tensor(numbers.to_numpy(zero_copy_only=False), dtype=dtype).reshape(len(column), *shape)


def _completed(spec: TableSpec, value: Snapshot) -> Snapshot:
    """With what a new row has in the place of what is not there."""
    rows = len(value["ids"])
    initial = {STATE + column.name: column.initial for column in state_columns(spec.optimizer, spec.dim)}
    return {
        key: value[key]
        if key in value
        else torch.full((0 if key.startswith(PENDING) else rows, *shape), initial.get(key, 0), dtype=dtype)
        for key, (dtype, shape) in columns_of(spec).items()
    }


def _checked(path: Path, spec: TableSpec, value: Snapshot) -> Snapshot:
    try:
        check_snapshot(spec, value)
    except ProtocolError as error:
        raise StateError(f"{path} does not fit: {error}") from error
    return value


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            f"{path}: Parquet files need pyarrow, which cannot be imported ({error}). Install it with "
            "pip install 'pliant[parquet]', or use a .safetensors file"
        ) from error
