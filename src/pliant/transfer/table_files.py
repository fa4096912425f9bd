"""Tables out of checkpoints, and into files for other programs. No torch: the command line does it.

Safetensors: all that is held of a table, under the names of :mod:`pliant.parallel.tables.snapshot`. Parquet: a row of
the file for each row of the table, with the columns ``id`` (int64), ``row`` (a list of ``dim`` float32), ``touched``
(int64), and one list for each state of the optimizer, ``state.NAME``. Ids that were counted and have no row yet are not
in it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pliant.errors import CheckpointError, ConfigError
from pliant.transfer.checkpoint_manifest import Manifest
from pliant.transfer.safetensors_file import Entry, write_safetensors
from pliant.wire.tables import PENDING

Columns = Mapping[str, NDArray[Any]]

PARQUET_NAMES = {"ids": "id", "rows": "row"}
"""Of what is named in the singular in a table of rows."""
_ROWS_PER_GROUP = 1 << 17


def read_stored_table(checkpoint: Path, manifest: Manifest, table: str) -> dict[str, NDArray[Any]]:
    """All that a checkpoint, whose manifest this is, has of a table. Blocking; checksums are not looked at.

    Raises:
        CheckpointError: It cannot be read.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        for column, number in manifest.tables[table].columns.items():
            stored = manifest.tensors[number]
            with safe_open(checkpoint / stored.file, framework="np") as opened:
                found[column] = opened.get_tensor(stored.key)
    except (OSError, LookupError, SafetensorError) as error:
        raise CheckpointError(
            f"table {table} of {checkpoint} cannot be read: {type(error).__name__}: {error}"
        ) from error
    return found


def write_safetensors_table(path: Path, columns: Columns) -> str:
    """Write a new file and flush it to disk; returns its SHA-256 in hex. Blocking.

    On failure: what was written so far stays.

    Raises:
        OSError: Disk full and the like; ``FileExistsError`` if there is such a file.
    """
    return write_safetensors(path, [_entry(key, np.ascontiguousarray(array)) for key, array in columns.items()])


def write_parquet_table(path: Path, columns: Columns) -> None:
    """Write a new file, or in place of an older one. Blocking.

    On failure: what was written so far stays.

    Raises:
        ConfigError: pyarrow is not installed.
        OSError: Disk full and the like.
    """
    arrow, parquet = import_pyarrow(path)
    found: dict[str, Any] = {}
    for key, array in columns.items():
        if not key.startswith(PENDING):
            flat = arrow.array(np.ascontiguousarray(array).reshape(-1))
            lists = array.ndim == 2
            found[PARQUET_NAMES.get(key, key)] = (
                arrow.FixedSizeListArray.from_arrays(flat, array.shape[1]) if lists else flat
            )
    parquet.write_table(arrow.table(found), str(path), row_group_size=_ROWS_PER_GROUP)


def import_pyarrow(path: Path) -> tuple[Any, Any]:
    """The package, and its module for Parquet; ``path``: what it is wanted for.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            f"{path}: Parquet files need pyarrow, which cannot be imported ({error}). Install it with "
            "pip install 'pliant[parquet]', or use a .safetensors file"
        ) from error


def _entry(key: str, array: NDArray[Any]) -> Entry:
    return Entry(key, str(array.dtype), array.shape, array.reshape(-1).view(np.uint8).data)
