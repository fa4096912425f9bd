"""Memory for the partial sums that come from peers: a small ring of buckets, kept from pass to pass."""

from __future__ import annotations

import torch

from pliant.parallel.layout import Layout

DEPTH = 2
"""Buckets in flight per peer and partial sum."""


class Staging:
    """Host memory for slices of at most ``DEPTH`` buckets per (peer, node)."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._slabs: dict[tuple[int, int, int], torch.Tensor] = {}

    def slab(self, *, bucket: int, peer: int, node: int, size_bytes: int) -> torch.Tensor:
        """Uninitialised memory for one slice, in the bucket's dtype; shape ``(size_bytes / itemsize,)``."""
        key = (bucket % DEPTH, peer, node)
        slab = self._slabs.get(key)
        if slab is None or slab.numel() < size_bytes:
            slab = self._slabs[key] = torch.empty(size_bytes, dtype=torch.uint8)
        return slab[:size_bytes].view(self._layout.buckets[bucket].dtype)

    def clear(self) -> None:
        """Give the memory back (the generation changed)."""
        self._slabs = {}
