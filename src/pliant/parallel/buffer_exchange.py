"""Exchange of changed buffers within a pass: small, so everyone sends its partial sums to everyone and folds alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pliant.comm.tree import Node, fold
from pliant.errors import ProtocolError
from pliant.parallel.buffers import BufferTracker, combine
from pliant.parallel.layout import as_bytes


class BufferExchange:
    """The changed buffers of one pass."""

    def __init__(self, tracker: BufferTracker, shards: int) -> None:
        self._tracker = tracker
        self._shards = shards
        self._indices: list[int] = []
        self._mine: list[dict[Node, torch.Tensor]] = []
        self._totals: list[torch.Tensor] = []

    def payload(self, indices: Sequence[int]) -> bytes:
        """This worker's partial sums of the buffers ``indices``: buffer by buffer, node by node, raw."""
        self._indices = list(indices)
        self._mine = [self._tracker.partial(index, self._shards) for index in indices]
        pieces = [bytes(as_bytes(part.contiguous().reshape(-1))) for parts in self._mine for part in parts.values()]
        return b"".join(pieces)

    def fold(self, payloads: Mapping[int, memoryview], nodes: Mapping[int, list[Node]]) -> None:
        """Add up everyone's; ``payloads`` and ``nodes`` by peer.

        Raises:
            ProtocolError: a payload has another size than its sender's nodes ask for.
        """
        collected: list[dict[Node, torch.Tensor]] = [dict(parts) for parts in self._mine]
        specs = self._tracker.specs(self._indices)
        for peer, payload in payloads.items():
            at = 0
            for position, (dtype, shape) in enumerate(specs):
                size = shape.numel() * dtype.itemsize
                for node in nodes[peer]:
                    piece = bytearray(payload[at : at + size])
                    if len(piece) != size:
                        raise ProtocolError(f"rank {peer} sent {len(payload)} bytes of buffers, more were announced")
                    at += size
                    flat = torch.frombuffer(piece, dtype=dtype) if size else torch.empty(0, dtype=dtype)
                    collected[position][node] = flat.reshape(shape)
            if at != len(payload):
                raise ProtocolError(f"rank {peer} sent {len(payload)} bytes of buffers instead of {at}")
        self._totals = [fold(parts, self._shards, combine) for parts in collected]

    def commit(self, factor: float) -> None:
        """Write the combined values to the models."""
        for index, total in zip(self._indices, self._totals, strict=True):
            self._tracker.apply(index, total, factor)
