"""Sums of sparse gradients: the addition with which partial sums go up the tree (``comm/tree.py``)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from pliant.parallel.tables.arena import put_rows, take_rows


class RowGrads(NamedTuple):
    """Gradients of some rows of a table."""

    ids: torch.Tensor
    """(n,) int64, rising."""
    grads: torch.Tensor
    """(n, dim) float32."""


def merge_rows(left: RowGrads, right: RowGrads) -> RowGrads:
    """The sum of two partial sums. A row that only one of them has is taken as it is, to the bit.

    So each row is added up in the tree's order, over those shards that have it, whoever holds which shard. The inputs
    are left as they are.
    """
    left_ids, right_ids = left.ids.numpy(), right.ids.numpy()
    at = np.searchsorted(left_ids, right_ids)
    both = at < len(left_ids)
    both[both] = left_ids[at[both]] == right_ids[both]
    # A row's place among all: its own number, and how many of the other side's are before it and not on both.
    alone = right_ids[~both]
    left_place = np.arange(len(left_ids)) + np.searchsorted(alone, left_ids)
    alone_place = np.arange(len(alone)) + at[~both]
    ids = np.empty(len(left_ids) + len(alone), np.int64)
    ids[left_place], ids[alone_place] = left_ids, alone
    left_grads, right_grads = (side.grads.detach().contiguous().numpy() for side in (left, right))
    grads = np.empty((len(ids), left_grads.shape[1]), np.float32)
    put_rows(grads, left_place, left_grads)
    put_rows(grads, alone_place, take_rows(right_grads, np.flatnonzero(~both)))
    shared = at[both]
    total = take_rows(left_grads, shared) + take_rows(right_grads, np.flatnonzero(both))
    put_rows(grads, left_place[shared], total)
    return RowGrads(torch.from_numpy(ids), torch.from_numpy(grads))
