"""The hash of the weights, which two runs compare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from typing_extensions import Buffer

from pliant.transfer.table_module import tables_of
from pliant.wire.tables import TableSpec

_CHUNK_BYTES = 64 << 20


def weights_sha256(models: Mapping[str, torch.nn.Module]) -> str:
    """SHA-256, in hex, over all parameters and persistent buffers of the models, sorted by name.

    Each counts with its model's name, its own name, dtype, shape and raw bytes, so any changed bit shows; a table with
    the digests of its rows, see :func:`table_weight`. A model wrapped by ``torch.compile`` has the hash of the model
    itself. Blocks: reads all weights, on whatever device, and tables' rows from their servers.
    """
    return hash_weights({name: _weights_of(model) for name, model in models.items()})


def _weights_of(model: torch.nn.Module) -> list[Weight]:
    dense = [
        Weight(name, str(tensor.dtype), tuple(tensor.shape), _raw_chunks(tensor))
        for name, tensor in persistent_tensors(model)
    ]
    return dense + [table_weight(prefix, table.spec, table.row_digests()) for prefix, table in tables_of(model)]


class Weight(NamedTuple):
    """One tensor for :func:`hash_weights`; ``chunks`` are its bytes in row-major order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Iterable[Buffer]


def table_weight(prefix: str, spec: TableSpec, digests: list[bytes]) -> Weight:
    """A table at ``prefix`` of its model: what counts are the digests of its slots' rows, whoever holds them."""
    return Weight(plain_name(f"{prefix}." if prefix else "") + "rows", "table", (spec.dim,), digests)


def hash_weights(models: Mapping[str, Iterable[Weight]]) -> str:
    """:func:`weights_sha256` of models whose tensors lie somewhere else."""
    digest = hashlib.sha256()
    for model_name in sorted(models):
        for weight in sorted(models[model_name], key=lambda weight: weight.name):
            digest.update(f"{model_name}\n{weight.name}\n{weight.dtype}\n{weight.shape}\n".encode())
            for chunk in weight.chunks:
                digest.update(chunk)
    return digest.hexdigest()


def persistent_tensors(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every name that a state_dict would have: a tied weight under each of its names."""
    for prefix, module in model.named_modules(remove_duplicate=False):
        start = plain_name(f"{prefix}." if prefix else "")
        slots = {**module._parameters, **module._buffers}
        for name, tensor in slots.items():
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield start + name, tensor


def plain_name(name: str) -> str:
    """Without what ``torch.compile`` puts in front."""
    return name.replace("_orig_mod.", "")


def _raw_chunks(tensor: torch.Tensor) -> Iterator[bytes]:
    """The tensor's bytes in row-major order, through the host a part at a time."""
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    raw = flat.view(torch.uint8)
    for start in range(0, raw.numel(), _CHUNK_BYTES):
        yield raw[start : start + _CHUNK_BYTES].cpu().numpy().tobytes()
