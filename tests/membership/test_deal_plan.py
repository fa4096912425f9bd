"""Dealing shards: evenly, by speed, and those that are missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.membership.deal_plan import deal_shards, makespan_s, quotas

PACES = st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("held", "missing", "takes"),
    [
        ([0, 0, 0], 8, [3, 3, 2]),
        ([0, 0, 0], 2, [1, 1, 0]),
        ([3, 0, 1], 4, [0, 3, 1]),
        ([5, 0], 0, [0, 0]),
        ([2, 2], 3, [2, 1]),
        ([9, 0, 0], 1, [0, 1, 0]),
    ],
)
def test_quotas_level_the_totals(held, missing, takes):
    assert quotas(held, missing=missing) == takes
    assert quotas(held, missing=missing, paces=[0.7] * len(held)) == takes


@pytest.mark.parametrize(
    ("held", "missing", "paces", "takes"),
    [
        ([0, 0], 8, [1.0, 3.0], [6, 2]),
        ([0, 0], 8, [3.0, 1.0], [2, 6]),
        ([0, 0, 0], 8, [1.0, 1.0, 3.0], [4, 3, 1]),
        ([0, 0], 2, [1.0, 3.0], [2, 0]),  # one alone is faster
        ([0, 0], 4, [1.0, 3.0], [3, 1]),
        ([6, 2], 4, [1.0, 3.0], [3, 1]),
        ([0, 4], 4, [1.0, 1.0], [4, 0]),
    ],
)
def test_quotas_follow_the_paces(held, missing, paces, takes):
    assert quotas(held, missing=missing, paces=paces) == takes


@given(shards=st.integers(0, 200), members=st.integers(1, 50))
def test_an_even_deal_is_fair_contiguous_and_complete(shards, members):
    hands = deal_shards(range(shards), takes=quotas([0] * members, missing=shards))
    assert [shard for hand in hands for shard in hand] == list(range(shards))
    lengths = [len(hand) for hand in hands]
    assert len(hands) == members
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


@given(paces=PACES, shards=st.integers(0, 300))
def test_no_deal_of_whole_shards_is_faster(paces, shards):
    takes = quotas([0] * len(paces), missing=shards, paces=paces)
    assert sum(takes) == shards
    now_s = makespan_s(takes, paces)
    # In less time, all together could not do as many.
    assert sum(int(now_s * (1 - 1e-9) / pace) for pace in paces) <= shards or shards == 0
    assert shards == 0 or sum(_done_before(now_s, pace) for pace in paces) < shards


def _done_before(time_s: float, pace: float) -> int:
    """Shards that are done well before ``time_s``."""
    count = int(time_s / pace)
    while count and count * pace > time_s * (1 - 1e-9):
        count -= 1
    return count


@given(data=st.data(), paces=PACES, missing=st.integers(0, 60))
def test_the_shortcut_deals_like_one_shard_after_the_other(data, paces, missing):
    held = data.draw(st.lists(st.integers(0, 20), min_size=len(paces), max_size=len(paces)))
    slowly = [0] * len(paces)
    for _ in range(missing):
        rank = min(range(len(paces)), key=lambda r: ((held[r] + slowly[r] + 1) * paces[r], held[r] + slowly[r], r))
        slowly[rank] += 1
    takes = quotas(held, missing=missing, paces=paces)
    assert sum(takes) == missing
    totals = [[have + took for have, took in zip(held, each, strict=True)] for each in (takes, slowly)]
    assert makespan_s(totals[0], paces) == pytest.approx(makespan_s(totals[1], paces))


def test_shards_are_dealt_in_runs():
    assert deal_shards([1, 2, 5, 7], takes=[1, 0, 3]) == ((1,), (), (2, 5, 7))
