"""Tensors as they travel: a head that says what they are, and raw bytes in row-major order. No torch, no numpy.

Datatypes have the names of the Open Inference Protocol v2
(https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md).
"""

from __future__ import annotations

from math import prod

import msgspec

SIZES = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
}
"""Datatype to bytes of an element. BYTES (strings) is not served: tensors only."""


class TensorHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """One tensor without its bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Of its bytes."""
        return SIZES[self.datatype] * prod(self.shape)


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model takes or gives. ``shape`` is that of one row, behind the batch's dimension; -1: any size there."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    dims: tuple[str, ...] = ()
    """Names of the dimensions in ``shape``, "" for one without; empty: none has one. In one request a name stands for
    one size, in whatever input and output it is found."""

    @property
    def axes(self) -> list[tuple[str, int]]:
        """(Name or "", size or -1) of each dimension in ``shape``."""
        return list(zip(self.dims or ("",) * len(self.shape), self.shape, strict=True))

    def problem(self, head: TensorHead) -> str:
        """Why ``head`` (with rows as its first dimension) is not one of these; empty if it is."""
        if head.datatype != self.datatype:
            return f"input {head.name} is {head.datatype}, expected {self.datatype}"
        wanted = [-1, *self.shape]
        fits = len(head.shape) == len(wanted) and all(
            want in (-1, have) for want, have in zip(wanted, head.shape, strict=True)
        )
        return "" if fits else f"input {head.name} has shape {list(head.shape)}, expected {wanted}"


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's inputs and outputs, as far as it says; empty: not said, anything is taken."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    streams: bool = False
    """``predict`` yields: an answer comes in parts, and requests are computed one at a time."""
    repeatable: bool = True
    """``predict`` may be run twice for one request."""
    pads: dict[str, tuple[int, ...]] = {}
    """Dimension to the sizes that it is padded to, rising; empty: to the longest of the batch. Requests that differ in
    such dimensions may share a batch."""
    collates: bool = False
    """The model puts requests together by itself: they may differ wherever a size is open."""
    told: tuple[str, ...] = ()
    """Dimensions whose sizes ``predict`` wants to know."""

    @property
    def uneven(self) -> bool:
        """Whether the replica is given the requests of a batch one by one, and not joined."""
        return bool(self.pads or self.collates or self.told)
