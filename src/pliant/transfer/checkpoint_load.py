"""Reading a checkpoint: into the value that ``restore`` and a worker's position take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open

from pliant.errors import CheckpointError, ProtocolError
from pliant.transfer.checkpoint_manifest import STRUCTURE, Manifest, StoredTensor, check_checkpoint
from pliant.transfer.checkpoint_save import Structure
from pliant.transfer.spec import TensorSpec, decode, tensor_specs


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint into memory, after comparing every bit with its checksums. Blocking.

    Returns:
        ``tracked``, as ``capture`` gave it, and ``position``, as ``Position.as_state`` gave it.

    Raises:
        CheckpointError: it is damaged, or cannot be read.
    """
    manifest = check_checkpoint(path)
    try:
        structure = msgspec.msgpack.decode((path / STRUCTURE).read_bytes(), type=Structure)
        specs = tensor_specs(structure.tracked)
        tensors = _read_tensors(path, manifest, specs)
        return {"tracked": decode(structure.tracked, tensors), "position": structure.position}
    except (OSError, SafetensorError, msgspec.MsgspecError, ProtocolError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _read_tensors(path: Path, manifest: Manifest, specs: list[TensorSpec]) -> list[torch.Tensor]:
    """The tensors in the order of their numbers, each opened file read once."""
    found: list[torch.Tensor | None] = [None] * len(specs)
    by_file: dict[str, list[tuple[int, StoredTensor]]] = {}
    for number, stored in enumerate(manifest.tensors):
        by_file.setdefault(stored.file, []).append((number, stored))
    for file, wanted in by_file.items():
        with safe_open(path / file, framework="pt") as opened:
            for number, stored in wanted:
                found[number] = _typed(opened.get_tensor(stored.key), specs[number])
    return [tensor for tensor in found if tensor is not None]


def _typed(raw: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    """As it was: some dtypes are stored as bytes. In memory of its own, not in the mapped file."""
    if raw.dtype == spec.dtype and tuple(raw.shape) == spec.shape:
        return raw.clone()
    tensor = torch.empty(spec.shape, dtype=spec.dtype)
    if raw.dtype != torch.uint8 or raw.numel() != tensor.numel() * tensor.itemsize:
        raise ValueError(f"a tensor is {raw.dtype} {tuple(raw.shape)}, to be {spec.dtype} {spec.shape}")
    if raw.numel():
        tensor.reshape(-1).view(torch.uint8).copy_(raw)
    return tensor
