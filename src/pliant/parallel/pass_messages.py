"""The small messages of a pass, beside the tensors."""

from __future__ import annotations

import msgspec

PRE, PART, POST, RESULT, BUFFER, ACK = 2, 3, 4, 5, 6, 7
"""Frame kinds; 1 is taken by :meth:`pliant.comm.mesh.MeshGroup.exchange`."""

MAX_MESSAGE_BYTES = 16 << 20
NODE_BITS = 16
"""A PART frame's index is ``bucket << 16 | node``: at most 65,536 partial sums from one worker."""


class Pre(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Known before the last backward ends: what is coming. First frame of a pass on every connection."""

    pass_number: int
    layout: str
    held: list[int]
    scales: list[float]
    """Weight of each held shard, relative to a full shard."""
    check: bytes = b""
    """Of this worker's state before the step (:mod:`pliant.parallel.divergence_plan`); empty: not compared now."""


class Flags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What members tell each other for the time after this pass."""

    prepared: int = 0
    """The planned generation whose group stands on this member; 0: none."""
    stop: bool = False
    more: list[int] = []
    """Held shards that have a batch in the next step of this epoch."""
    samples: int = 0
    """Samples in the held shards."""
    pace: float = 0.0
    """Seconds that this worker needs for a shard; 0: unknown."""


class Post(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Known after the last backward."""

    losses: list[float]
    present: bytes
    """One bit per parameter: it has a gradient in some held shard."""
    buffers: list[int]
    """Indices of the buffers that held shards changed."""
    flags: Flags


def pack_bits(bits: list[bool]) -> bytes:
    """Bits to bytes, eight to one."""
    value = sum(1 << index for index, bit in enumerate(bits) if bit)
    return value.to_bytes(-(-len(bits) // 8), "little")


def union_bits(many: list[bytes], count: int) -> list[bool]:
    """The union of several packed bit lists of ``count`` bits."""
    value = 0
    for packed in many:
        value |= int.from_bytes(packed, "little")
    return [bool(value >> index & 1) for index in range(count)]
