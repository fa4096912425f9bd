"""Eight bytes over one tensor's bits, cheap enough to be made of a whole model between two steps.

The bytes are read once, as 64-bit integers in rows of ``COLUMNS``, whose columns are added up with wraparound on the
tensor's own device; the sums, what is left over at the end, the dtype and the shape go through BLAKE2b. One changed
element changes its column's sum, and so the digest, whatever else is in it. Against changes made on purpose this is no
protection: two that cancel out in one column are not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

COLUMNS = 509
"""A prime, so that whole rows of a weight do not lie below each other (a swap of two would leave the sums alone)."""
DIGEST_BYTES = 8
_WORD_BYTES = 8


def digestible(tensor: torch.Tensor) -> bool:
    """Whether it has plain memory: no sparse layout, no meta device, no parameter that waits for its shape."""
    plain = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
    return plain and not torch.nn.parameter.is_lazy(tensor)


def tensor_digests(tensors: Sequence[torch.Tensor]) -> list[bytes]:
    """Eight bytes for each tensor (see :func:`digestible`): equal if and (but for accidents) only if all bits are.

    The same on every device. Blocks; from another device than the CPU one small copy comes to the host for all of its
    tensors together.
    """
    summaries = [_summary(tensor.detach()) for tensor in tensors]
    on_host = _fetched(summaries)
    return [
        hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode() + summary, digest_size=DIGEST_BYTES).digest()
        for tensor, summary in zip(tensors, on_host, strict=True)
    ]


def _summary(tensor: torch.Tensor) -> bytes | torch.Tensor:
    """What goes through the hash: bytes, or (not on the CPU) a uint8 tensor of them."""
    raw = _raw(tensor)
    row = COLUMNS * _WORD_BYTES
    whole = raw.numel() // row * row
    if whole <= row:
        return raw.numpy().tobytes() if raw.device.type == "cpu" else raw
    if raw.device.type == "cpu":
        array = raw.numpy()
        sums = np.add.reduce(array[:whole].view(np.int64).reshape(-1, COLUMNS), axis=0)
        return bytes(sums.tobytes() + array[whole:].tobytes())
    device_sums = raw[:whole].view(torch.int64).view(-1, COLUMNS).sum(0)
    return torch.cat([device_sums.view(torch.uint8), raw[whole:]])


def _raw(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes in row-major order, shape (n,), uint8; a copy only where the memory lies otherwise."""
    flat = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    if flat.data_ptr() % _WORD_BYTES or flat.storage_offset() * flat.dtype.itemsize % _WORD_BYTES:
        flat = flat.clone()
    return flat.view(torch.uint8)


def _fetched(summaries: Sequence[bytes | torch.Tensor]) -> list[bytes]:
    """All summaries as bytes; one copy for each device."""
    found: list[bytes] = [each if isinstance(each, bytes) else b"" for each in summaries]
    by_device: dict[torch.device, list[int]] = {}
    for index, each in enumerate(summaries):
        if isinstance(each, torch.Tensor):
            by_device.setdefault(each.device, []).append(index)
    for indices in by_device.values():
        parts = [part for index in indices if isinstance(part := summaries[index], torch.Tensor)]
        host = torch.cat(parts).cpu().numpy().tobytes()
        start = 0
        for index, part in zip(indices, parts, strict=True):
            found[index] = host[start : start + part.numel()]
            start += part.numel()
    return found
