"""Snapshots of tables as files for other programs, and back (:mod:`pliant.transfer.table_files` has their formats)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from pliant.errors import ProtocolError, StateError
from pliant.parallel.tables.row_optimizers import state_columns
from pliant.parallel.tables.snapshot import STATE, Snapshot, check_snapshot, columns_of
from pliant.transfer.table_files import (
    PARQUET_NAMES,
    import_pyarrow,
    write_parquet_table,
    write_safetensors_table,
)
from pliant.wire.tables import PENDING, TableSpec

_READ_ERRORS = (AttributeError, RuntimeError, TypeError, ValueError)
"""What columns of an unexpected type lead to."""


def write_table_safetensors(path: Path, value: Snapshot) -> str:
    """See :func:`pliant.transfer.table_files.write_safetensors_table`."""
    return write_safetensors_table(path, _arrays(value))


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
    """See :func:`pliant.transfer.table_files.write_parquet_table`."""
    write_parquet_table(path, _arrays(value))


def read_table_parquet(path: Path, spec: TableSpec) -> Snapshot:
    """What :func:`write_table_parquet` wrote, or any file with the columns ``id`` and ``row``. Blocking.

    Ids may come in any order. Where there is no column for them, the optimizer's state is that of a new row and
    ``touched`` is 0. Other columns are not looked at.

    Raises:
        ConfigError: pyarrow is not installed.
        StateError: The file is damaged, or has no rows of such a table.
        OSError: It cannot be read.
    """
    arrow, parquet = import_pyarrow(path)
    try:
        table = parquet.read_table(str(path))
        found = {
            key: _column(arrow, table[name], dtype=dtype, shape=shape)
            for key, (dtype, shape) in columns_of(spec).items()
            if (name := PARQUET_NAMES.get(key, key)) in table.column_names
        }
    except (arrow.ArrowException, *_READ_ERRORS) as error:
        raise StateError(f"{path} cannot be read as rows of table {spec.name}: {error}") from error
    missing = [PARQUET_NAMES[key] for key in PARQUET_NAMES if key not in found]
    if missing:
        raise StateError(f"{path} has no column {' and no column '.join(missing)}, only {table.column_names}")
    order = torch.argsort(found["ids"])
    value = {key: tensor.index_select(0, order) for key, tensor in found.items()}
    return _checked(path, spec, _completed(spec, value))


def _arrays(value: Snapshot) -> dict[str, NDArray[Any]]:
    return {key: tensor.numpy() for key, tensor in value.items()}


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
