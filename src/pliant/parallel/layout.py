"""Where each parameter's gradient lies in the flat buckets that are reduced.

Buckets are filled in reverse order of the parameters, because backward finishes the last ones first (as
DistributedDataParallel does; Li et al., VLDB 2020). Every parameter starts at a multiple of 64 bytes, as it would in
an allocation of its own, and keeps its own strides, so that kernels that read a gradient take the same path as on one
worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from typing_extensions import Buffer

ALIGN = 64
BUCKET_BYTES = 8 << 20


@dataclass(frozen=True)
class Slot:
    """One parameter's place: ``numel`` elements from ``offset`` (in elements) of bucket ``bucket``."""

    bucket: int
    offset: int
    numel: int


@dataclass(frozen=True)
class BucketSpec:
    """A flat tensor of ``numel`` elements of ``dtype``; ``params`` are the indices of the parameters in it."""

    dtype: torch.dtype
    numel: int
    params: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Size of the flat tensor in bytes."""
        return self.numel * self.dtype.itemsize


class Layout:
    """The buckets of a list of named parameters. A pure function of that list, so the same on every worker."""

    def __init__(self, named: Sequence[tuple[str, torch.nn.Parameter]], *, bucket_bytes: int = BUCKET_BYTES) -> None:
        self.names = [name for name, _ in named]
        self.params = [param for _, param in named]
        self.slots: list[Slot] = []
        self.buckets: list[BucketSpec] = []
        self._fill(bucket_bytes)
        text = repr([(name, tuple(p.shape), str(p.dtype)) for name, p in named]).encode()
        self.fingerprint = hashlib.sha256(text).hexdigest()[:16]

    def matches(self, params: Sequence[torch.nn.Parameter]) -> bool:
        """True if the layout is for exactly these parameters, in this order."""
        return len(params) == len(self.params) and all(a is b for a, b in zip(params, self.params, strict=True))

    def new_flats(self) -> list[torch.Tensor]:
        """One host tensor for each bucket, uninitialised (pinned when the parameters are on a GPU)."""
        pinned = any(param.is_cuda for param in self.params)
        return [torch.empty(spec.numel, dtype=spec.dtype, pin_memory=pinned) for spec in self.buckets]

    def view(self, flats: Sequence[torch.Tensor], index: int) -> torch.Tensor:
        """Parameter ``index``'s part of ``flats``, in the shape and strides of the parameter."""
        slot, param = self.slots[index], self.params[index]
        flat = flats[slot.bucket]
        if torch.ops.aten.is_non_overlapping_and_dense(param):
            return flat.as_strided(param.size(), param.stride(), slot.offset)
        return flat[slot.offset : slot.offset + slot.numel].view(param.size())

    def _fill(self, bucket_bytes: int) -> None:
        places: dict[int, Slot] = {}
        filling: dict[torch.dtype, tuple[int, list[int]]] = {}
        closed: list[tuple[torch.dtype, int, list[int]]] = []

        def close(dtype: torch.dtype) -> None:
            numel, members = filling.pop(dtype)
            for index in members:
                old = places[index]
                places[index] = Slot(len(closed), old.offset, old.numel)
            closed.append((dtype, numel, members))

        for index in reversed(range(len(self.params))):
            param = self.params[index]
            step = max(1, ALIGN // param.dtype.itemsize)
            numel, members = filling.get(param.dtype, (0, []))
            places[index] = Slot(-1, numel, param.numel())
            members.append(index)
            filling[param.dtype] = (numel + -(-param.numel() // step) * step, members)
            if filling[param.dtype][0] * param.dtype.itemsize >= bucket_bytes:
                close(param.dtype)
        for dtype in list(filling):
            close(dtype)
        self.slots = [places[index] for index in range(len(self.params))]
        self.buckets = [BucketSpec(dtype, numel, tuple(members)) for dtype, numel, members in closed]


def trained(models: Mapping[str, torch.nn.Module]) -> list[tuple[str, torch.nn.Parameter]]:
    """All parameters that require gradients, by name, each once."""
    named: list[tuple[str, torch.nn.Parameter]] = []
    seen: set[int] = set()
    for label, model in models.items():
        for name, param in model.named_parameters():
            if param.requires_grad and id(param) not in seen:
                seen.add(id(param))
                named.append((f"{label}.{name}", param))
    return named


def in_use(flat: torch.Tensor) -> bool:
    """True if another tensor shares the memory of ``flat``, such as a gradient that the script has kept."""
    storage = flat.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata) > 2  # the tensor's own, and ``storage``


def slice_bounds(numel: int, dtype: torch.dtype, rank: int, size: int) -> tuple[int, int]:
    """The part (start, stop), in elements, of a bucket that ``rank`` of ``size`` members adds up."""
    step = max(1, ALIGN // dtype.itemsize)
    blocks = -(-numel // step)
    start = min(numel, blocks * rank // size * step)
    stop = numel if rank == size - 1 else min(numel, blocks * (rank + 1) // size * step)
    return start, stop


def as_bytes(flat: torch.Tensor) -> memoryview:
    """The memory of a contiguous host tensor, without a copy, whatever its dtype."""
    return memoryview(cast(Buffer, flat.view(torch.uint8).numpy())) if flat.numel() else memoryview(b"")
