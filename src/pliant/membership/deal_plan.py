"""Which rank computes which missing shards. Pure functions."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def quotas(held: Sequence[int], *, missing: int) -> list[int]:
    """How many of ``missing`` shards each rank takes, so that the totals are as even as they can be.

    Nobody gives up what it holds. Ties go to the lowest rank. Costs O(ranks + missing * log ranks).

    Args:
        held: number of shards that each rank has already.
        missing: number of shards to deal.
    """
    take = [0] * len(held)
    least = [(count, rank) for rank, count in enumerate(held)]
    heapq.heapify(least)
    for _ in range(missing):
        total, rank = least[0]
        take[rank] += 1
        heapq.heapreplace(least, (total + 1, rank))
    return take


def deal_shards(missing: Sequence[int], *, takes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Cut ``missing`` (ascending) into one run for each rank: neighbours stay together, as the tree likes it."""
    dealt, at = [], 0
    for take in takes:
        dealt.append(tuple(missing[at : at + take]))
        at += take
    return tuple(dealt)
