"""Rows of a table as plain tensors: what travels when a slot moves, and what a checkpoint and an export have.

A snapshot is a dict of dense CPU tensors, all with one entry for each row: that of a slot by rising ids, that of a
whole table slot after slot.

========================== ================= =======================================================
key                        dtype, shape      what
========================== ================= =======================================================
``ids``                    int64 (n,)        of the rows
``rows``                   float32 (n, dim)  their values
``touched``                int64 (n,)        the step that updated it last
``state.NAME``             float32 (n, w)    the optimizer's, for each of ``state_columns``
``pending.ids``            int64 (p,)        ids that were not yet seen ``min_count`` times
``pending.touched``        int64 (p,)        the step in which it was seen last
``pending.counts``         int64 (p,)        how often it was seen
========================== ================= =======================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from pliant.errors import ProtocolError
from pliant.parallel.tables.row_optimizers import state_columns
from pliant.transfer.row_slots import SlotOrder, slot_of
from pliant.wire.tables import PENDING, TableSpec

Snapshot = dict[str, torch.Tensor]

STATE = "state."


def columns_of(spec: TableSpec) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Key, dtype and shape of one row, of all that a snapshot has."""
    found: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "ids": (torch.int64, ()),
        "rows": (torch.float32, (spec.dim,)),
        "touched": (torch.int64, ()),
    }
    for column in state_columns(spec.optimizer, spec.dim):
        found[STATE + column.name] = (torch.float32, (column.width,))
    for key in ("ids", "touched", "counts"):
        found[PENDING + key] = (torch.int64, ())
    return found


def check_columns(spec: TableSpec, found: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
    """Whether a snapshot of the table has columns of these dtypes and shapes.

    Raises:
        ProtocolError: It has not, and why.
    """
    wanted = columns_of(spec)
    if found.keys() != wanted.keys():
        raise ProtocolError(f"table {spec.name}: a snapshot has {sorted(found)}, expected {sorted(wanted)}")
    for key, (dtype, shape) in wanted.items():
        group = PENDING if key.startswith(PENDING) else ""
        expected = (dtype, (*found[group + "ids"][1][:1], *shape))
        if found[key] != expected:
            raise ProtocolError(
                f"table {spec.name}: {key} of a snapshot is {found[key][0]} {found[key][1]}, "
                f"expected {dtype} {expected[1]}"
            )


def check_snapshot(spec: TableSpec, value: Mapping[str, torch.Tensor], *, slot: int) -> None:
    """Whether this is a snapshot of a slot of the table.

    Raises:
        ProtocolError: It is not, and why.
    """
    check_columns(spec, {key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in value.items()})
    for group in ("", PENDING):
        ids = value[group + "ids"].numpy()
        check_ids(spec.name, ids)
        if (slot_of(ids) != slot).any():
            raise ProtocolError(f"table {spec.name}: a snapshot of slot {slot} has rows of other slots")


def without_expired(spec: TableSpec, value: Snapshot, *, step: int) -> Snapshot:
    """What has not expired before step ``step``: what else is there is as good as gone, and not the same everywhere."""
    if spec.expire_after_steps is None:
        return value
    live = {
        group: torch.nonzero(step - value[group + "touched"] <= spec.expire_after_steps)[:, 0]
        for group in ("", PENDING)
    }
    return {
        key: tensor.index_select(0, live[PENDING if key.startswith(PENDING) else ""]) for key, tensor in value.items()
    }


def check_ids(table: str, ids: NDArray[np.int64]) -> None:
    """Whether each id is larger than the one before: then none is there twice.

    Raises:
        ProtocolError: One is not.
    """
    if not (ids[1:] > ids[:-1]).all():
        at = int(np.argmin(ids[1:] > ids[:-1]))
        raise ProtocolError(f"table {table}: ids must rise, and {ids[at]} is followed by {ids[at + 1]}")


def join_snapshots(parts: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of what several slots, one at least, hold of a table; given in their order."""
    snapshots = list(parts)
    return {key: torch.cat([each[key] for each in snapshots]) for key in snapshots[0]}


class SlotParts:
    """A snapshot of a whole table in its slots: the reverse of :func:`join_snapshots`.

    Rows that lie in the order of their slots are not copied; they may be in a file.
    """

    def __init__(self, value: Snapshot) -> None:
        self._value = value
        self._orders = {group: SlotOrder(value[group + "ids"].numpy()) for group in ("", PENDING)}

    def of(self, slot: int) -> Snapshot:
        """What the table has in a slot, which may be nothing; perhaps a view."""
        inside = {group: order.of(slot) for group, order in self._orders.items()}
        return {
            key: tensor[_index(inside[PENDING if key.startswith(PENDING) else ""])]
            for key, tensor in self._value.items()
        }


def _index(inside: slice | NDArray[np.int64]) -> slice | torch.Tensor:
    return inside if isinstance(inside, slice) else torch.from_numpy(inside)
