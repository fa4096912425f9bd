"""Tables out of checkpoints, and into files for other programs. No torch: the command line does it.

Safetensors: all that is held of a table, under the names of :mod:`pliant.parallel.tables.snapshot`. Parquet: a row of
the file for each row of the table, with the columns ``id`` (int64), ``row`` (a list of ``dim`` float32), ``touched``
(int64), and one list for each state of the optimizer, ``state.NAME``. Ids that were counted and have no row yet are not
in it.

A part of a table is in memory at a time, the rest in the checkpoint's files. Rows come in the order in which the
checkpoint has them: by slot (:mod:`pliant.transfer.row_slots`), then by rising ids.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pliant.errors import CheckpointError, ConfigError
from pliant.transfer.checkpoint_manifest import Manifest
from pliant.transfer.safetensors_file import Entry, map_safetensors, write_safetensors
from pliant.wire.tables import PENDING

Columns = Mapping[str, NDArray[Any]]
"""By name, each with one entry for a row."""
PARQUET_NAMES = {"ids": "id", "rows": "row"}
"""Of what is named in the singular in a table of rows."""
_ROWS_AT_A_TIME = 1 << 17


def map_stored_table(checkpoint: Path, manifest: Manifest, table: str) -> Columns:
    """All that a checkpoint, whose manifest this is, has of a table, still in its files. Checksums are not looked at.

    Raises:
        CheckpointError: It cannot be read.
    """
    found: dict[str, NDArray[Any]] = {}
    for name, number in manifest.tables[table].columns.items():
        stored = manifest.tensors[number]
        path = checkpoint / stored.file
        try:
            data = map_safetensors(path)[stored.key]
            found[name] = np.frombuffer(data, np.dtype(stored.dtype)).reshape(stored.shape)
        except (OSError, LookupError, ValueError) as error:
            raise CheckpointError(
                f"table {table} cannot be read from {path}: {type(error).__name__}: {error}"
            ) from error
    return found


def write_safetensors_table(path: Path, columns: Columns) -> str:
    """Write a new file and flush it to disk; returns its SHA-256 in hex. Blocking.

    On failure: what was written so far stays.

    Raises:
        OSError: Disk full and the like; ``FileExistsError`` if there is such a file.
    """
    return write_safetensors(path, [_entry(name, array) for name, array in columns.items()])


def write_parquet_table(path: Path, columns: Columns) -> None:
    """Write a new file, or in place of an older one. Blocking.

    On failure: what was written so far stays.

    Raises:
        ConfigError: pyarrow is not installed.
        OSError: Disk full and the like.
    """
    arrow, parquet = import_pyarrow(path)
    rows = {name: array for name, array in columns.items() if not name.startswith(PENDING)}
    schema = arrow.schema((PARQUET_NAMES.get(name, name), _kind(arrow, array)) for name, array in rows.items())
    with parquet.ParquetWriter(str(path), schema) as writer:
        for start in range(0, len(rows["ids"]), _ROWS_AT_A_TIME):
            parts = [array[start : start + _ROWS_AT_A_TIME] for array in rows.values()]
            found = [
                arrow.FixedSizeListArray.from_arrays(arrow.array(part.reshape(-1)), type=field.type)
                if part.ndim == 2
                else arrow.array(part)
                for part, field in zip(parts, schema, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(found, schema=schema))


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


def _kind(arrow: Any, array: NDArray[Any]) -> Any:
    item = arrow.from_numpy_dtype(array.dtype)
    return arrow.list_(item, array.shape[1]) if array.ndim == 2 else item


def _entry(name: str, array: NDArray[Any]) -> Entry:
    return Entry(name, str(array.dtype), array.shape, array.nbytes, [array.reshape(-1).view(np.uint8).data])
