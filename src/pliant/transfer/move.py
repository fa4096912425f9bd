"""Tracked state from the memory of those who have it to those who need it.

The state is a description (meta) and a list of tensors, the same on every source. The tensors are cut into pieces;
each source sends a contiguous run of about the same number of bytes to every newcomer. The first source sends the
meta. Bytes go straight from the sources' tensors to freshly allocated ones: nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from typing_extensions import Buffer

from pliant.comm.base import Group
from pliant.errors import ProtocolError
from pliant.transfer.spec import Encoded, tensor_specs

META, DATA = 32, 33
PIECE_BYTES = 4 << 20
MAX_META_BYTES = 256 << 20


@dataclass(frozen=True)
class Piece:
    """Bytes ``start:stop`` of tensor ``tensor``."""

    tensor: int
    start: int
    stop: int


def cut(sizes_bytes: Sequence[int], *, sources: int) -> list[list[tuple[int, Piece]]]:
    """For each source, its (number, piece) pairs; a pure function of the tensors' sizes, balanced by bytes."""
    pieces = [
        Piece(index, start, min(start + PIECE_BYTES, size))
        for index, size in enumerate(sizes_bytes)
        for start in range(0, size, PIECE_BYTES)
    ]
    total = sum(sizes_bytes)
    shares: list[list[tuple[int, Piece]]] = [[] for _ in range(sources)]
    before = 0
    for number, piece in enumerate(pieces):
        shares[min(sources - 1, before * sources // max(1, total))].append((number, piece))
        before += piece.stop - piece.start
    return shares


def send_state(group: Group, state: Encoded, *, sources: Sequence[int], newcomers: Sequence[int]) -> int:
    """Send this source's part to all newcomers. Blocking; returns the bytes sent.

    Raises ConnectionLostError if a member goes; the own state is untouched.
    """
    views = [bytes_of(tensor) for tensor in state.tensors]
    share = cut([len(view) for view in views], sources=len(sources))[sources.index(group.rank)]
    sent = 0
    for peer in newcomers:
        if group.rank == sources[0]:
            group.post(peer, META, 0, state.meta)
        for number, piece in share:
            group.post(peer, DATA, number, views[piece.tensor][piece.start : piece.stop])
            sent += piece.stop - piece.start
    group.drive(_Nothing(), lambda: True)
    return sent


def receive_state(group: Group, *, sources: Sequence[int]) -> tuple[Encoded, int]:
    """The state from all sources, and its size in bytes. Blocking; raises as :func:`send_state`."""
    incoming = _Incoming(sources)
    group.drive(incoming, incoming.done)
    return incoming.state(), incoming.size_bytes


class _Nothing:
    """Handler of one who only sends."""

    def wants(self, peer: int) -> bool:
        return False

    def destination(self, peer: int, kind: int, index: int, size: int) -> memoryview | None:
        raise ProtocolError(f"rank {peer} sent a frame of kind {kind} to a source of state")

    def received(self, peer: int, kind: int, index: int, body: memoryview) -> None:
        raise ProtocolError(f"rank {peer} sent a frame of kind {kind} to a source of state")


class _Incoming:
    """Handler of a newcomer."""

    def __init__(self, sources: Sequence[int]) -> None:
        self._sources = list(sources)
        self._meta: bytes | None = None
        self._tensors: list[torch.Tensor] = []
        self._views: list[memoryview] = []
        self._missing: dict[int, dict[int, Piece]] = {}
        self.size_bytes = 0

    def state(self) -> Encoded:
        if self._meta is None:
            raise AssertionError("no state has come")
        return Encoded(meta=self._meta, tensors=self._tensors)

    def done(self) -> bool:
        return self._meta is not None and not any(self._missing.values())

    def wants(self, peer: int) -> bool:
        return peer == self._sources[0] if self._meta is None else bool(self._missing.get(peer))

    def destination(self, peer: int, kind: int, index: int, size: int) -> memoryview | None:
        if kind == META and self._meta is None and size <= MAX_META_BYTES:
            return memoryview(bytearray(size))
        piece = self._missing.get(peer, {}).get(index)
        if kind != DATA or piece is None or piece.stop - piece.start != size:
            raise ProtocolError(f"rank {peer} sent a frame of kind {kind}, index {index} and {size} bytes of state")
        return self._views[piece.tensor][piece.start : piece.stop]

    def received(self, peer: int, kind: int, index: int, body: memoryview) -> None:
        if kind == DATA:
            piece = self._missing[peer].pop(index)
            self.size_bytes += piece.stop - piece.start
            return
        self._meta = bytes(body)
        self._tensors = [torch.empty(shape, dtype=dtype) for dtype, shape in tensor_specs(self._meta)]
        self._views = [bytes_of(tensor) for tensor in self._tensors]
        shares = cut([len(view) for view in self._views], sources=len(self._sources))
        self._missing = {rank: dict(share) for rank, share in zip(self._sources, shares, strict=True)}


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The tensor's bytes in row-major order; of a contiguous one in host memory, the live memory itself."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(cast(Buffer, flat.view(torch.uint8).numpy())) if flat.numel() else memoryview(b"")
