"""Tensors as frames of a letter, and back, without a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from pliant.errors import ProtocolError
from pliant.parallel.layout import as_bytes
from pliant.transfer.spec import decode, encode, tensor_specs

Frame = memoryview | bytes


def tensor_of(frame: memoryview, dtype: torch.dtype, numel: int) -> torch.Tensor:
    """The frame's memory as a 1-d tensor, for reading only; keeps the frame alive.

    Raises:
        ProtocolError: It has another size.
    """
    size_bytes = numel * dtype.itemsize
    if len(frame) != size_bytes:
        raise ProtocolError(f"a frame of {len(frame)} bytes came where {size_bytes} were expected")
    if not numel:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(frame, dtype=dtype)


def frames_of(value: object) -> tuple[list[Frame], int]:
    """A plain value with tensors (:func:`pliant.transfer.spec.encode`) as frames; and how many tensors there are."""
    encoded = encode(value)
    frames: list[Frame] = [encoded.meta]
    frames += [as_bytes(tensor.reshape(-1)) for tensor in encoded.tensors]
    return frames, len(encoded.tensors)


def value_of(frames: Sequence[memoryview]) -> Any:
    """The value of :func:`frames_of`; its tensors are the frames' memory.

    Raises:
        ProtocolError: The frames are not those of a value.
    """
    if not frames:
        raise ProtocolError("a letter lacks the frame that its state begins with")
    meta = bytes(frames[0])
    specs = tensor_specs(meta)
    if len(specs) != len(frames) - 1:
        raise ProtocolError(f"a state of {len(specs)} tensors came with {len(frames) - 1}")
    tensors = []
    for spec, frame in zip(specs, frames[1:], strict=True):
        numel = 1
        for extent in spec.shape:
            numel *= extent
        tensors.append(tensor_of(frame, spec.dtype, numel).view(spec.shape))
    return decode(meta, tensors)


class FrameReader:
    """Hands out a letter's frames in order."""

    def __init__(self, frames: Sequence[memoryview]) -> None:
        self._frames, self._at = frames, 0

    def take(self, count: int) -> Sequence[memoryview]:
        """The next ``count``.

        Raises:
            ProtocolError: There are not so many.
        """
        found = self._frames[self._at : self._at + count]
        if len(found) < count:
            raise ProtocolError(f"a letter has {len(self._frames)} frames, more were announced")
        self._at += count
        return found

    def tensor(self, dtype: torch.dtype, numel: int) -> torch.Tensor:
        """The next one."""
        return tensor_of(self.take(1)[0], dtype, numel)

    def rest(self) -> Iterator[memoryview]:
        """Those that are left."""
        yield from self._frames[self._at :]
