"""Rows of tables as frames of a letter, and which of them are in which slot."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from pliant.errors import ProtocolError
from pliant.parallel.layout import as_bytes
from pliant.parallel.servers.frames import Frame, FrameReader, tensor_of
from pliant.parallel.tables.merge import RowGrads
from pliant.transfer.row_slots import slot_of


def row_frames(rows: RowGrads) -> list[Frame]:
    """Ids, then gradients."""
    return [as_bytes(rows.ids.contiguous()), as_bytes(rows.grads.contiguous().view(-1))]


def read_rows(reader: FrameReader, dim: int) -> RowGrads:
    """The next two frames; a view of the letter's memory.

    Raises:
        ProtocolError: They do not fit each other.
    """
    ids = read_ids(reader)
    grads = tensor_of(reader.take(1)[0], torch.float32, len(ids) * dim)
    return RowGrads(ids, grads.view(len(ids), dim))


def read_ids(reader: FrameReader) -> torch.Tensor:
    """The next frame, as (n,) int64."""
    frame = reader.take(1)[0]
    if len(frame) % 8:
        raise ProtocolError(f"a frame of {len(frame)} bytes came where ids of 8 bytes each were expected")
    return tensor_of(frame, torch.int64, len(frame) // 8)


def in_slots(ids: torch.Tensor, slots: Iterable[int]) -> torch.Tensor:
    """(n,) bool: which ids are in one of these slots."""
    wanted = np.zeros(256, np.bool_)
    wanted[list(slots)] = True
    return torch.from_numpy(wanted[slot_of(ids.numpy())])


def by_slot(rows: RowGrads, slots: Iterable[int]) -> dict[int, RowGrads]:
    """The rows of each of these slots, copied; empty where there are none."""
    where = torch.from_numpy(slot_of(rows.ids.numpy()))
    order = torch.argsort(where, stable=True)
    counts = torch.bincount(where, minlength=256)
    ends = torch.cumsum(counts, 0)
    ids, grads = rows.ids.index_select(0, order), rows.grads.index_select(0, order)
    found = {}
    for slot in slots:
        stop = int(ends[slot])
        start = stop - int(counts[slot])
        found[slot] = RowGrads(ids[start:stop], grads[start:stop])
    return found


def joined(parts: Iterable[RowGrads], dim: int) -> RowGrads:
    """Rows of different slots together, by rising ids."""
    many = list(parts)
    if not many:
        return RowGrads(torch.empty(0, dtype=torch.int64), torch.empty(0, dim))
    ids = torch.cat([part.ids for part in many])
    order = torch.argsort(ids)
    return RowGrads(ids.index_select(0, order), torch.cat([part.grads for part in many]).index_select(0, order))
