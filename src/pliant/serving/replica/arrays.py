"""Between the bytes of a frame and the tensors of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pliant.errors import ConfigError
from pliant.wire.replica_messages import Part
from pliant.wire.tensors import TensorHead

_DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def datatype_of(dtype: str | torch.dtype) -> str:
    """The protocol's name of a dtype (``"float32"``, ``torch.float32``, or ``"FP32"`` itself).

    Raises:
        ConfigError: It has none.
    """
    if isinstance(dtype, str) and dtype.upper() in _DTYPES:
        return dtype.upper()
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if found in _NAMES:
        return _NAMES[found]
    raise ConfigError(f"{dtype!r} is no dtype that can be served; choose from {', '.join(_DTYPES)}")


def dtype_of(datatype: str) -> torch.dtype:
    """Torch's of the protocol's name."""
    return _DTYPES[datatype]


def tensors_of(heads: Sequence[TensorHead], payload: bytes) -> dict[str, torch.Tensor]:
    """The tensors of a frame, by name; they share one writable copy of the payload."""
    return requests_of([heads], payload)[0]


def requests_of(requests: Sequence[Sequence[TensorHead]], payload: bytes) -> list[dict[str, torch.Tensor]]:
    """The same for a frame that holds the tensors of several requests, one request's behind the other's."""
    data, begin, found = bytearray(payload), 0, []
    for heads in requests:
        tensors, begin = _tensors(heads, data, begin)
        found.append(tensors)
    return found


def _tensors(heads: Sequence[TensorHead], data: bytearray, begin: int) -> tuple[dict[str, torch.Tensor], int]:
    found = {}
    for head in heads:
        end = begin + head.size_bytes
        dtype = _DTYPES[head.datatype]
        if head.size_bytes:
            flat = torch.frombuffer(data, dtype=dtype, offset=begin, count=head.size_bytes // dtype.itemsize)
        else:
            flat = torch.empty(0, dtype=dtype)
        found[head.name] = flat.view(head.shape)
        begin = end
    return found, begin


def as_batch(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor | dict[str, torch.Tensor]:
    """What ``predict`` is given: the tensor itself if it is the only one."""
    return next(iter(tensors.values())) if len(tensors) == 1 else dict(tensors)


def named_outputs(result: Any, names: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """What ``predict`` returned, by name.

    Args:
        result: a tensor, a sequence or a mapping of tensors.
        names: what the model declares; given to outputs that come without names, if there are as many.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(result, torch.Tensor):
        named: dict[str, Any] = {names[0] if len(names) == 1 else "output": result}
    elif isinstance(result, Mapping):
        named = {str(name): tensor for name, tensor in result.items()}
    elif isinstance(result, (tuple, list)):
        known = names if len(names) == len(result) else [f"output{number}" for number in range(len(result))]
        named = dict(zip(known, result, strict=True))
    else:
        raise ValueError(f"predict returned a {type(result).__name__}, not a tensor, or a tuple or dict of tensors")
    for name, tensor in named.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"predict's output {name!r} is a {type(tensor).__name__}, not a tensor")
    return named


def outputs_of(
    result: Any, rows: int | None, names: Sequence[str] = ()
) -> tuple[tuple[TensorHead, ...], tuple[Part, ...]]:
    """Heads and bytes of what ``predict`` returned.

    Args:
        result: as :func:`named_outputs` takes it.
        rows: that each must have; None: as it comes (a part of a stream).
        names: what the model declares.

    Raises:
        ValueError: It is something else, or has other rows.
    """
    heads, parts = [], []
    for name, tensor in named_outputs(result, names).items():
        if rows is not None and (tensor.dim() == 0 or tensor.shape[0] != rows):
            raise ValueError(
                f"predict was given {rows} rows, and its output {name!r} has shape {list(tensor.shape)}: the first "
                "dimension must be the rows, in their order"
            )
        if tensor.dtype not in _NAMES:
            raise ValueError(f"predict's output {name!r} is {tensor.dtype}, which cannot be sent")
        heads.append(TensorHead(name, _NAMES[tensor.dtype], tuple(tensor.shape)))
        flat = tensor.detach().cpu().contiguous().view(-1)
        parts.append(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return tuple(heads), tuple(parts)
