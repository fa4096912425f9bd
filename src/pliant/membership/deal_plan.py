"""Which rank computes which shards. Pure functions: the same answer in every process that asks with the same numbers.

The sums here are exact or of two numbers only, so that every Python version gives the same bits.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import fsum


def quotas(held: Sequence[int], *, missing: int, paces: Sequence[float] = ()) -> list[int]:
    """How many of ``missing`` shards each rank takes, so that whoever is last with all it holds is done early.

    Nobody gives up what it holds. One after the other goes to the rank that would be done first with one more, which
    gives the shortest time that whole shards allow. Ties go to those who hold fewer, then to the lowest rank.
    Costs O(ranks * log ranks) if nothing is held, at most O(ranks + missing * log ranks).

    Args:
        held: number of shards that each rank has already.
        missing: number of shards to deal.
        paces: seconds that each rank needs for a shard, all above 0; none: all are alike.
    """
    each = list(paces) or [1.0] * len(held)
    take = _certain(held, missing, each)
    queue = [
        ((have + took + 1) * pace, have + took, rank)
        for rank, (have, took, pace) in enumerate(zip(held, take, each, strict=True))
    ]
    heapq.heapify(queue)
    for _ in range(missing - sum(take)):
        _, total, rank = queue[0]
        take[rank] += 1
        heapq.heapreplace(queue, ((total + 2) * each[rank], total + 1, rank))
    return take


def makespan_s(takes: Sequence[int], paces: Sequence[float]) -> float:
    """Seconds until the last rank is done with its shards."""
    return max((take * pace for take, pace in zip(takes, paces, strict=True)), default=0.0)


def deal_shards(missing: Sequence[int], *, takes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Cut ``missing`` (ascending) into one run for each rank: neighbours stay together, as the tree likes it."""
    dealt, at = [], 0
    for take in takes:
        dealt.append(tuple(missing[at : at + take]))
        at += take
    return tuple(dealt)


def _certain(held: Sequence[int], missing: int, paces: Sequence[float]) -> list[int]:
    """What each rank gets in any case: all that it can do in a time in which there is surely too much to do."""
    total = sum(held) + missing
    within_s = max(0, total - len(held)) / fsum(1.0 / pace for pace in paces) if held else 0.0
    take = [max(0, int(within_s / pace) - have) for have, pace in zip(held, paces, strict=True)]
    return take if sum(take) <= missing else [0] * len(held)
