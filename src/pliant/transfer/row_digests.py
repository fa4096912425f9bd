"""Digests of a table's rows, one for each slot: so a table can be hashed that is nowhere as a whole. No torch."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pliant.transfer.row_slots import SlotOrder
from pliant.wire.server_messages import SLOTS


def digest_rows(ids: NDArray[np.int64], rows: NDArray[np.float32]) -> bytes:
    """SHA-256 of the rows of one slot: of their ids, which rise, and of what is in them."""
    digest = hashlib.sha256(_raw(ids))
    digest.update(_raw(rows))
    return digest.digest()


def digest_table(ids: NDArray[np.int64], rows: NDArray[np.float32]) -> list[bytes]:
    """:func:`digest_rows` of each slot of a whole table. Blocking; if it is in a file, it is read a slot at a time."""
    order = SlotOrder(ids)
    inside = [order.of(slot) for slot in range(SLOTS)]
    return [digest_rows(ids[each], rows[each]) for each in inside]


def _raw(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
