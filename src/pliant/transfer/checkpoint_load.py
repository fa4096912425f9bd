"""Reading a checkpoint: into the value that ``restore`` and a worker's position take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch

from pliant.errors import CheckpointError, ProtocolError
from pliant.transfer.checkpoint_manifest import STRUCTURE, Manifest, StoredTable, check_checkpoint
from pliant.transfer.checkpoint_save import Structure
from pliant.transfer.safetensors_file import map_safetensors
from pliant.transfer.spec import TensorSpec, decode, tensor_specs
from pliant.transfer.stored_rows import StoredColumn, StoredRows, tensor_in

_READ_ERRORS = (OSError, msgspec.MsgspecError, ProtocolError, ValueError, LookupError, TypeError)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint into memory, after comparing every bit with its checksums. Blocking.

    Returns:
        ``tracked``, as ``capture`` gave it, and ``position``, as ``Position.as_state`` gave it. In the place of a
        table's rows stands where they are (:class:`pliant.transfer.stored_rows.StoredRows`): they are not read.

    Raises:
        CheckpointError: it is damaged, or cannot be read.
    """
    manifest = check_checkpoint(path)
    try:
        structure = msgspec.msgpack.decode((path / STRUCTURE).read_bytes(), type=Structure)
        specs = tensor_specs(structure.tracked)
        tensors = _read_tensors(path, manifest, specs)
        tracked = decode(structure.tracked, tensors)
        for table in manifest.tables.values():
            tracked[table.model]["extra"][table.prefix] = _stored_rows(path, manifest, table).plain()
        return {"tracked": tracked, "position": structure.position}
    except _READ_ERRORS as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _read_tensors(path: Path, manifest: Manifest, specs: list[TensorSpec]) -> list[torch.Tensor]:
    """The tensors in the order of their numbers, those of tables still in the file."""
    columns = {number for table in manifest.tables.values() for number in table.columns.values()}
    files = {file: map_safetensors(path / file) for file in {stored.file for stored in manifest.tensors}}
    mapped = [
        tensor_in(files[stored.file][stored.key], spec.dtype, spec.shape)
        for stored, spec in zip(manifest.tensors, specs, strict=True)
    ]
    return [tensor if number in columns else tensor.clone() for number, tensor in enumerate(mapped)]


def _stored_rows(path: Path, manifest: Manifest, table: StoredTable) -> StoredRows:
    columns = {}
    for name, number in table.columns.items():
        stored = manifest.tensors[number]
        columns[name] = StoredColumn(stored.file, stored.key, stored.dtype, tuple(stored.shape))
    return StoredRows(path.absolute(), columns)
