"""Any state_dict-like value as bytes and tensors, and back, without pickle.

``encode`` walks the value and writes a tree of tagged nodes (msgpack); tensors and arrays are replaced by numbers into
a list that travels beside it as raw memory. ``decode`` builds only what is listed below, so a hostile peer gets an
error, never code that runs.

A node is None, a bool, an int of 64 bits, a float, a str, bytes, or a list that begins with one of the tags below.
The whole is ``[version, [[dtype, shape], ...], root]``: the specs come first, so that a receiver can allocate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import torch

from pliant.errors import ProtocolError, StateError
from pliant.transfer.spec_reader import Reader
from pliant.transfer.spec_writer import Writer

VERSION = 1
MAX_META_BYTES = 256 << 20
"""Of the tree without tensors and arrays."""
MAX_TENSOR_BYTES = 1 << 44
"""Of all tensors together."""
MAX_DIMS = 64
# SyntaxError is numpy's: it has Python parse a dtype such as "f4,(2".
_READ_ERRORS = (
    ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, SyntaxError, TypeError, ValueError,
)  # fmt: skip


class Encoded(NamedTuple):
    """A value ready to travel.

    Tensors are contiguous and, where they were before, the live memory itself: send or clone them before it changes.
    """

    meta: bytes
    tensors: list[torch.Tensor]


class TensorSpec(NamedTuple):
    """What a receiver allocates for one tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]


def encode(value: object, *, path: str = "") -> Encoded:
    """Take a value apart.

    Supported: None, bool, int, float, complex, str, bytes, list, tuple, dict, OrderedDict, defaultdict (comes back as a
    dict), Counter, set, frozenset, deque, dense tensors, ``nn.Parameter``, NumPy arrays and scalars, ``torch.dtype``,
    ``torch.Size``, ``torch.device``. A tensor found twice travels once, and is one object again on the other side.

    Args:
        value: What to encode; it is not changed.
        path: Name of the value, with which errors begin.

    Raises:
        StateError: Something in it is not supported, contains itself, or is too deep or too large; names the place.
    """
    return encode_with_paths(value, path=path)[0]


def encode_with_paths(value: object, *, path: str = "") -> tuple[Encoded, list[str]]:
    """As :func:`encode`, and for each tensor where in the value it was found first."""
    writer = Writer()
    root = writer.node(value, path)
    specs = [[_dtype_name(tensor.dtype), list(tensor.shape)] for tensor in writer.tensors]
    meta = msgspec.msgpack.encode([VERSION, specs, root])
    if len(meta) > MAX_META_BYTES:
        raise StateError(
            f"the state{' of ' + path if path else ''} has {len(meta)} bytes of plain values, "
            f"more than {MAX_META_BYTES}; "
            f"keep large data in tensors or arrays"
        )
    return Encoded(meta, writer.tensors), writer.paths


def decode(meta: bytes, tensors: Sequence[torch.Tensor]) -> Any:
    """Put a value together again; it holds the given tensors, not copies.

    Raises:
        ProtocolError: ``meta`` is malformed, or the tensors are not those it speaks of.
    """
    specs, root = _parse(meta)
    if len(specs) != len(tensors):
        raise ProtocolError(f"a state with {len(specs)} tensors came with {len(tensors)}")
    for number, (spec, tensor) in enumerate(zip(specs, tensors, strict=True)):
        if tensor.dtype != spec.dtype or tuple(tensor.shape) != spec.shape:
            raise ProtocolError(
                f"tensor {number} of a state is {tensor.dtype} {tuple(tensor.shape)}, "
                f"announced as {spec.dtype} {spec.shape}"
            )
    try:
        return Reader(tensors).value(root)
    except _READ_ERRORS as error:
        raise ProtocolError(f"malformed state: {error}") from error


def tensor_specs(meta: bytes) -> list[TensorSpec]:
    """What to allocate, in order, before the tensors of this state arrive.

    Raises:
        ProtocolError: ``meta`` is malformed or asks for more than ``MAX_TENSOR_BYTES``.
    """
    return _parse(meta)[0]


def _parse(meta: bytes) -> tuple[list[TensorSpec], Any]:
    if len(meta) > MAX_META_BYTES:
        raise ProtocolError(f"a state has {len(meta)} bytes of plain values, more than {MAX_META_BYTES}")
    try:
        version, specs, root = msgspec.msgpack.decode(meta, type=list[Any])
        if version != VERSION:
            raise ProtocolError(f"a state is written in version {version!r}; this side reads {VERSION}")
        parsed = [_spec(*spec) for spec in specs]
    except (msgspec.MsgspecError, *_READ_ERRORS) as error:
        raise ProtocolError(f"malformed state: {error}") from error
    total = sum(_size_bytes(spec) for spec in parsed)
    if total > MAX_TENSOR_BYTES:
        raise ProtocolError(f"a state announces {total} bytes of tensors, more than {MAX_TENSOR_BYTES}")
    return parsed, root


def _spec(dtype_name: str, shape: list[int]) -> TensorSpec:
    dtype = getattr(torch, dtype_name)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{dtype_name!r} is no dtype")
    if len(shape) > MAX_DIMS or not all(type(extent) is int and 0 <= extent < 1 << 62 for extent in shape):
        raise ValueError(f"{shape!r} is no shape")
    return TensorSpec(dtype, tuple(shape))


def _size_bytes(spec: TensorSpec) -> int:
    size = spec.dtype.itemsize
    for extent in spec.shape:
        size *= extent
    return size


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
