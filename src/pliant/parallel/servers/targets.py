"""Where parameters, or gradients, go that come from servers slot by slot."""

from __future__ import annotations

from typing import Protocol

import torch

from pliant.parallel.layout import Layout
from pliant.parallel.servers.frames import FrameReader
from pliant.parallel.servers.optimizer_state import in_memory_order
from pliant.parallel.servers.pieces import SlotRanges


class Target(Protocol):
    """Takes slots in any order."""

    def read(self, slot: int, reader: FrameReader, *, keep: bool) -> None:
        """The next frames are this slot's, one for each of its ranges. ``keep``: else they are passed over."""
        ...

    def cut(self, slot: int) -> list[torch.Tensor]:
        """What is there of a slot: one flat tensor for each of its ranges, perhaps a view."""
        ...


class FlatTarget:
    """The flat buckets of a layout."""

    def __init__(self, ranges: SlotRanges, flats: list[torch.Tensor]) -> None:
        self.flats = flats
        self._ranges = ranges

    def read(self, slot: int, reader: FrameReader, *, keep: bool) -> None:
        """See :class:`Target`."""
        for part in self._ranges.cut(slot, self.flats):
            theirs = reader.tensor(part.dtype, part.numel())
            if keep:
                part.copy_(theirs)

    def cut(self, slot: int) -> list[torch.Tensor]:
        """See :class:`Target`."""
        return self._ranges.cut(slot, self.flats)


class ParameterTarget:
    """The parameters themselves, without a buffer between."""

    def __init__(self, layout: Layout, ranges: SlotRanges) -> None:
        self._layout, self._ranges = layout, ranges

    def read(self, slot: int, reader: FrameReader, *, keep: bool) -> None:
        """See :class:`Target`. All parameters must be :func:`in_place`."""
        theirs = {
            each.bucket: (each.start, reader.tensor(self._layout.buckets[each.bucket].dtype, each.stop - each.start))
            for each in self._ranges.slots[slot]
        }
        for piece in self._ranges.pieces[slot] if keep else ():
            param = self._layout.params[piece.param]
            start, flat = theirs[piece.bucket]
            begin = piece.offset - start
            mine = in_memory_order(param.detach(), param)[piece.start : piece.stop]
            mine.copy_(flat[begin : begin + piece.stop - piece.start])

    def cut(self, slot: int) -> list[torch.Tensor]:
        """See :class:`Target`. Copies, in host memory; there are zeros between parameters."""
        parts = {
            each.bucket: torch.zeros(each.stop - each.start, dtype=self._layout.buckets[each.bucket].dtype)
            for each in self._ranges.slots[slot]
        }
        starts = {each.bucket: each.start for each in self._ranges.slots[slot]}
        for piece in self._ranges.pieces[slot]:
            param = self._layout.params[piece.param].detach()
            begin = piece.offset - starts[piece.bucket]
            part = parts[piece.bucket][begin : begin + piece.stop - piece.start]
            part.copy_(in_memory_order(param, param)[piece.start : piece.stop])
        return list(parts.values())


def in_place(param: torch.Tensor) -> bool:
    """Whether parts of a parameter can be written where they are: it is in host memory, without gaps."""
    return param.device.type == "cpu" and bool(torch.ops.aten.is_non_overlapping_and_dense(param))
