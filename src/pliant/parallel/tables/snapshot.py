"""Rows of a table as plain tensors: what travels when a slot moves, and what a checkpoint and an export have.

A snapshot is a dict of dense CPU tensors, all with one entry for each row, by rising ids:

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
from pliant.transfer.row_slots import slot_of
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


def check_snapshot(spec: TableSpec, value: Mapping[str, torch.Tensor], *, slot: int | None = None) -> None:
    """Whether this is a snapshot of the table, and of ``slot`` if that is given.

    Raises:
        ProtocolError: It is not, and why.
    """
    wanted = columns_of(spec)
    if value.keys() != wanted.keys():
        raise ProtocolError(f"table {spec.name}: a snapshot has {sorted(value)}, expected {sorted(wanted)}")
    for key, (dtype, shape) in wanted.items():
        group = PENDING if key.startswith(PENDING) else ""
        expected = (*value[group + "ids"].shape[:1], *shape)
        found = value[key]
        if found.dtype != dtype or tuple(found.shape) != expected:
            raise ProtocolError(
                f"table {spec.name}: {key} of a snapshot is {found.dtype} {tuple(found.shape)}, "
                f"expected {dtype} {expected}"
            )
    for group in ("", PENDING):
        ids = value[group + "ids"].numpy()
        check_ids(spec.name, ids)
        if slot is not None and (slot_of(ids) != slot).any():
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
    """One snapshot of what several slots of a table hold. There must be at least one."""
    snapshots = list(parts)
    joined = {key: torch.cat([each[key] for each in snapshots]) for key in snapshots[0]}
    for group in (False, True):
        keys = [key for key in joined if key.startswith(PENDING) == group]
        order = torch.argsort(joined[PENDING + "ids" if group else "ids"])
        joined.update({key: joined[key].index_select(0, order) for key in keys})
    return joined


def split_snapshot(value: Snapshot) -> dict[int, Snapshot]:
    """Snapshots of the single slots, of those that have anything; the reverse of :func:`join_snapshots`."""
    row_slots = torch.from_numpy(slot_of(value["ids"].numpy()))
    pending_slots = torch.from_numpy(slot_of(value[PENDING + "ids"].numpy()))
    found: dict[int, Snapshot] = {}
    for slot in sorted({*row_slots.tolist(), *pending_slots.tolist()}):
        rows, pending = torch.nonzero(row_slots == slot)[:, 0], torch.nonzero(pending_slots == slot)[:, 0]
        found[slot] = {
            key: tensor.index_select(0, pending if key.startswith(PENDING) else rows) for key, tensor in value.items()
        }
    return found
