"""Which pushes a slot has applied."""

from __future__ import annotations

import random

import pytest

from pliant.errors import ProtocolError
from pliant.parallel.leases.applied import AppliedLeases
from pliant.transfer.spec import decode, encode


def test_each_part_of_a_lease_is_applied_once():
    applied = AppliedLeases()
    assert not applied.has(5, 0)
    applied.note(5, 0, floor=0)
    assert applied.has(5, 0)
    assert not applied.has(5, 1)
    applied.note(5, 1, floor=0)
    assert applied.has(5, 0)
    assert applied.has(5, 1)


def test_what_is_below_the_floor_is_applied_and_forgotten():
    applied = AppliedLeases()
    for lease in range(10):
        applied.note(lease, 0, floor=max(0, lease - 2))
    assert len(applied) == 3
    assert all(applied.has(lease, part) for lease in range(7) for part in range(3))
    assert not applied.has(10, 0)


@pytest.mark.parametrize("seed", range(20))
def test_it_travels_as_it_is(seed):
    rng = random.Random(seed)
    applied = AppliedLeases()
    noted = [(rng.randrange(1 << 45), rng.randrange(3)) for _ in range(rng.randrange(30))]
    for lease, part in noted:
        applied.note(lease, part, floor=0)
    encoded = encode(applied.plain())
    there = AppliedLeases.from_plain(decode(encoded.meta, encoded.tensors))
    assert all(there.has(lease, part) for lease, part in noted)
    assert len(there) == len(applied)


@pytest.mark.parametrize("value", [None, {}, {"floor": 0}, {"floor": 0, "parts": 3}])
def test_something_else_is_refused(value):
    with pytest.raises(ProtocolError, match="leases of a slot"):
        AppliedLeases.from_plain(value)
