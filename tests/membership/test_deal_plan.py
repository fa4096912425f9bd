"""Dealing missing shards."""

from __future__ import annotations

import pytest

from pliant.membership.deal_plan import deal_shards, quotas


@pytest.mark.parametrize(
    ("held", "missing", "takes"),
    [
        ([0, 0, 0], 8, [3, 3, 2]),
        ([0, 0, 0], 2, [1, 1, 0]),
        ([3, 0, 1], 4, [0, 3, 1]),
        ([5, 0], 0, [0, 0]),
        ([2, 2], 3, [2, 1]),
    ],
)
def test_quotas_level_the_totals(held, missing, takes):
    assert quotas(held, missing=missing) == takes


def test_shards_are_dealt_in_runs():
    assert deal_shards([1, 2, 5, 7], takes=[1, 0, 3]) == ((1,), (), (2, 5, 7))
