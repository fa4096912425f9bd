"""The dense parameters cut in slots.

All buckets of a layout are laid end to end and cut in :data:`~pliant.wire.server_messages.SLOTS` parts that differ by
less than 256 bytes. Every piece of a parameter begins at a multiple of 128 bytes of it, because vectorised loops take
up to that much at once, and what is left at a tensor's end goes through scalar code, which in 16 bits rounds
otherwise: so each element is treated as in the whole tensor. Small models leave some slots empty.

A slot holds at most one range of each bucket, and at most one piece of each parameter.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import torch

from pliant.parallel.layout import ALIGN, Layout
from pliant.wire.server_messages import SLOTS

UNIT = 128
"""In bytes: pieces of a parameter begin at multiples of it. The registers of AVX-512, two at a time."""


class Range(NamedTuple):
    """Elements ``start`` to ``stop`` of a bucket."""

    bucket: int
    start: int
    stop: int


class SlotPart(NamedTuple):
    """What of a bucket is in a slot: elements ``start`` to ``stop``."""

    slot: int
    start: int
    stop: int


class Piece(NamedTuple):
    """Elements ``start`` to ``stop`` of a parameter, in the order of its memory, within one slot.

    Parameters without elements have no piece. The one piece of a 0-dim parameter is 0-dim.
    """

    slot: int
    param: int
    start: int
    stop: int
    bucket: int
    offset: int
    """Of its first element in the bucket."""


class SlotRanges:
    """Which elements are in which slot. A pure function of the layout, so the same in every process.

    Attributes:
        slots: for each slot its ranges, by bucket.
        buckets: for each bucket its parts, in order; together they are the bucket.
        pieces: for each slot the pieces of parameters in it, by bucket and offset; padding is in none.
        params: for each parameter its pieces, in order; together they are the parameter.
    """

    def __init__(self, layout: Layout) -> None:
        self.slots: list[list[Range]] = [[] for _ in range(SLOTS)]
        self.buckets: list[list[SlotPart]] = [[] for _ in layout.buckets]
        self.pieces: list[list[Piece]] = [[] for _ in range(SLOTS)]
        self.params: list[list[Piece]] = [[] for _ in layout.slots]
        self._cut_buckets(layout)
        self._cut_params(layout)

    def cut(self, slot: int, flats: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The parts of the buckets' flat tensors that are in ``slot``: views, one for each of its ranges."""
        return [flats[each.bucket][each.start : each.stop] for each in self.slots[slot]]

    def _cut_buckets(self, layout: Layout) -> None:
        blocks = [-(-spec.size_bytes // ALIGN) for spec in layout.buckets]
        bounds = _bounds(layout, blocks)
        first = 0
        for bucket, spec in enumerate(layout.buckets):
            step = max(1, ALIGN // spec.dtype.itemsize)
            for slot in range(SLOTS):
                low, high = max(bounds[slot], first), min(bounds[slot + 1], first + blocks[bucket])
                if low < high:
                    start, stop = (low - first) * step, min((high - first) * step, spec.numel)
                    self.slots[slot].append(Range(bucket, start, stop))
                    self.buckets[bucket].append(SlotPart(slot, start, stop))
            first += blocks[bucket]

    def _cut_params(self, layout: Layout) -> None:
        for bucket, spec in enumerate(layout.buckets):
            for index in spec.params:
                place = layout.slots[index]
                for part in self.buckets[bucket]:
                    low, high = max(part.start, place.offset), min(part.stop, place.offset + place.numel)
                    if low < high:
                        piece = Piece(part.slot, index, low - place.offset, high - place.offset, bucket, low)
                        self.pieces[part.slot].append(piece)
                        self.params[index].append(piece)


def _bounds(layout: Layout, blocks: Sequence[int]) -> list[int]:
    """The slots' edges in blocks of ALIGN bytes, over all buckets; ``blocks``: of each bucket."""
    starts = []
    first = 0
    for bucket, spec in enumerate(layout.buckets):
        starts += [first + layout.slots[index].offset * spec.dtype.itemsize // ALIGN for index in spec.params]
        first += blocks[bucket]
    edges = [first * slot // SLOTS for slot in range(SLOTS)]
    # A block back where a piece would not begin at a multiple of UNIT; each bucket begins with a parameter.
    within = [edge - starts[bisect_right(starts, edge) - 1] if starts else 0 for edge in edges]
    return [*(edge - far % (UNIT // ALIGN) for edge, far in zip(edges, within, strict=True)), first]
