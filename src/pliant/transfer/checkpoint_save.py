"""Writing a checkpoint: a copy of the state in host memory first, then the files from that.

Two halves, because training waits only for the first: :func:`take_snapshot` on the thread that trains,
:func:`write_checkpoint` on any.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from pliant.transfer.capture import capture
from pliant.transfer.checkpoint_files import is_good, keep_newest, new_directory
from pliant.transfer.checkpoint_layout import Layout, PlacedTable, plan_layout
from pliant.transfer.checkpoint_manifest import (
    FORMAT,
    MANIFEST,
    STRUCTURE,
    SUMS,
    Manifest,
    StoredCall,
    StoredTable,
    StoredTensor,
    checkpoint_path,
    sums_text,
)
from pliant.transfer.fingerprint import Weight, hash_weights, table_weight
from pliant.transfer.move import bytes_of
from pliant.transfer.row_digests import digest_table
from pliant.transfer.safetensors_file import Entry, write_file, write_safetensors
from pliant.transfer.spec import encode_with_paths, tensor_specs

_BYTE = torch.uint8


class Structure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``structure.msgpack``: what is needed, beside the tensors, to have everything again bit for bit."""

    tracked: bytes
    """``Encoded.meta`` of ``capture(tracked)``."""
    position: dict[str, Any]
    """``Position.as_state()``."""


@dataclass(frozen=True)
class Snapshot:
    """The state at one boundary, in memory that training does not touch."""

    job: str
    meta: bytes
    data: list[memoryview]
    """By tensor: its bytes."""
    layout: Layout
    position: dict[str, Any]

    @property
    def step(self) -> int:
        """The next step to be trained."""
        return int(self.position["step"])


class Staging:
    """Host memory for snapshots, used again for each: fresh memory would cost as much as the copy itself."""

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []

    def copy(self, tensors: list[torch.Tensor]) -> list[memoryview]:
        """The tensors' bytes, copied; good until the next call. Blocking, also on a GPU."""
        sizes = [tensor.numel() * tensor.itemsize for tensor in tensors]
        if [buffer.numel() for buffer in self._buffers] != sizes:
            pinned = any(tensor.is_cuda for tensor in tensors)
            self._buffers = []  # let go of the old ones first
            self._buffers = [torch.empty(size, dtype=_BYTE, pin_memory=pinned) for size in sizes]
        for buffer, tensor in zip(self._buffers, tensors, strict=True):
            if buffer.numel():
                buffer.copy_(tensor.detach().reshape(-1).view(_BYTE), non_blocking=tensor.is_cuda)
        if any(tensor.is_cuda for tensor in tensors):
            torch.cuda.synchronize()
        return [bytes_of(buffer) for buffer in self._buffers]


def take_snapshot(tracked: Mapping[str, Any], position: dict[str, Any], *, job: str, staging: Staging) -> Snapshot:
    """Copy the state of everything tracked. Blocking, for as long as copying memory takes.

    Tables are not copied again: what their modules give is a copy, and may lie in files (:mod:`pliant.transfer.spool`).

    Raises:
        StateError: a state cannot be read or stored.
        OSError: there is no room on the disk for tables' rows.
    """
    encoded, paths = encode_with_paths(capture(tracked))
    layout = plan_layout(tracked, paths)
    columns = {number for table in layout.tables for number in table.columns.values()}
    rest = [number for number in range(len(encoded.tensors)) if number not in columns]
    data = dict(zip(rest, staging.copy([encoded.tensors[number] for number in rest]), strict=True))
    data |= {number: bytes_of(encoded.tensors[number]) for number in columns}
    return Snapshot(job, encoded.meta, [data[number] for number in range(len(data))], layout, position)


def write_checkpoint(directory: Path, snapshot: Snapshot, *, keep: int) -> tuple[Path, int]:
    """As :func:`write_snapshot`; then removes the checkpoints that are too old. Blocking."""
    final, size_bytes = write_snapshot(directory, snapshot)
    keep_newest(directory, keep, fresh=final)
    return final, size_bytes


def write_snapshot(directory: Path, snapshot: Snapshot) -> tuple[Path, int]:
    """Write the snapshot as a checkpoint. Blocking.

    One that is there already for the same step, and good, stays as it is: the same job has the same bits there.

    On failure: earlier checkpoints are untouched, and nothing half-written can be seen.

    Returns:
        Where it is, and its size in bytes.

    Raises:
        OSError: disk full, no permission and the like.
    """
    final = checkpoint_path(directory, snapshot.step)
    if not is_good(final):
        with new_directory(final) as partial:
            _write_files(partial, snapshot)
    return final, sum(path.stat().st_size for path in final.iterdir())


def _write_files(directory: Path, snapshot: Snapshot) -> None:
    specs = tensor_specs(snapshot.meta)
    names = [str(spec.dtype).removeprefix("torch.") for spec in specs]
    sums: dict[str, str] = {}
    for file, keys in snapshot.layout.files.items():
        entries = [Entry(key, names[n], specs[n].shape, len(snapshot.data[n]), [snapshot.data[n]]) for key, n in keys]
        sums[file] = write_safetensors(directory / file, entries)
    structure = msgspec.msgpack.encode(Structure(snapshot.meta, snapshot.position))
    sums[STRUCTURE] = write_file(directory / STRUCTURE, [structure])
    sizes = {name: (directory / name).stat().st_size for name in sums}
    tensors = [
        StoredTensor(file, key, name, list(spec.shape))
        for (file, key), name, spec in zip(snapshot.layout.home, names, specs, strict=True)
    ]
    manifest = msgspec.json.format(msgspec.json.encode(_manifest(snapshot, tensors, sizes)), indent=1)
    sums[MANIFEST] = write_file(directory / MANIFEST, [manifest])
    write_file(directory / SUMS, [sums_text(sums)])


def _manifest(snapshot: Snapshot, tensors: list[StoredTensor], sizes: dict[str, int]) -> Manifest:
    position = snapshot.position
    loss = position["loss"]
    return Manifest(
        format=FORMAT,
        pliant=version("pliant"),
        torch=str(torch.__version__),
        job=snapshot.job,
        written_s=time.time(),
        **{name: position[name] for name in ("step", "call", "step_of_call", "passes", "epoch", "samples")},
        loss=loss if loss is not None and abs(loss) < float("inf") else None,
        weights_sha256=_weights_sha256(snapshot),
        calls=[StoredCall(kind, msgspec.Raw(msgspec.json.encode(result))) for kind, result in position["ended"]],
        models=snapshot.layout.models,
        tensors=tensors,
        files=sizes,
        tables={
            table.spec.name: StoredTable(table.spec, table.model, table.prefix, table.columns)
            for table in snapshot.layout.tables
        },
    )


def _weights_sha256(snapshot: Snapshot) -> str:
    specs = tensor_specs(snapshot.meta)
    weights = {
        model: [Weight(key, str(specs[n].dtype), specs[n].shape, [snapshot.data[n]]) for key, n in keys]
        for model, keys in snapshot.layout.weights.items()
    }
    for table in snapshot.layout.tables:
        weights[table.model].append(table_weight(table.prefix, table.spec, _row_digests(table, snapshot)))
    return hash_weights(weights)


def _row_digests(table: PlacedTable, snapshot: Snapshot) -> list[bytes]:
    ids = np.frombuffer(snapshot.data[table.columns["ids"]], np.int64)
    rows = np.frombuffer(snapshot.data[table.columns["rows"]], np.float32)
    return digest_table(ids, rows.reshape(len(ids), table.spec.dim))
