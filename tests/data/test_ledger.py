import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.data.ledger import SampleLedger
from pliant.data.order import EpochOrder
from pliant.data.shards_plan import sample_range, steps_per_epoch


def places(shards, batch_size, size):
    for step in range(steps_per_epoch(batch_size=batch_size, size=size, drop_last=False)):
        for shard in range(shards):
            yield (
                step,
                shard,
                sample_range(step=step, shard=shard, batch_size=batch_size, shards=shards, size=size, drop_last=False),
            )


def test_a_whole_epoch_in_any_order_is_exactly_once_and_small():
    ledger = SampleLedger(4)
    todo = list(places(4, 8, 1003))
    random.Random(0).shuffle(todo)
    for step, shard, positions in todo:
        assert not ledger.exactly_once(0, 1003)
        ledger.commit(epoch=0, step=step, shard=shard, positions=positions)
    assert ledger.exactly_once(0, 1003)
    assert ledger.samples == 1003
    assert ledger.entries() == 4
    assert ledger.missing(0, 1003) == []
    assert set(ledger.sample_counts(0, EpochOrder(1003, seed=1, epoch=0)).tolist()) == {1}


def test_a_lost_and_a_repeated_shard_are_named():
    ledger = SampleLedger(2)
    for step, shard, positions in places(2, 4, 20):
        times = {(1, 0): 0, (3, 1): 2}.get((step, shard), 1)
        for _ in range(times):
            ledger.commit(epoch=5, step=step, shard=shard, positions=positions)
    assert not ledger.exactly_once(5, 20)
    assert ledger.missing(5, 20) == [(4, 6)]
    assert ledger.repeated(5) == [(14, 16, 2)]
    assert ledger.times_committed(epoch=5, step=3, shard=1) == 2
    assert ledger.times_committed(epoch=5, step=1, shard=0) == 0
    assert ledger.times_committed(epoch=6, step=1, shard=0) == 0
    assert ledger.missing(6, 20) == [(0, 20)]
    counts = ledger.sample_counts(5, EpochOrder(20, seed=0, epoch=5, shuffle=False)).tolist()
    assert counts == [1] * 4 + [0] * 2 + [1] * 8 + [2] * 2 + [1] * 4


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8))))
def test_counts_agree_with_counting(ranges):
    ledger = SampleLedger(1)
    counts = Counter()
    for number, (start, length) in enumerate(ranges):
        ledger.commit(epoch=0, step=number, shard=0, positions=(start, start + length))
        counts.update(range(start, start + length))
    by_run = Counter({p: times for start, stop, times in ledger.runs(0) for p in range(start, stop)})
    assert by_run == counts
    gaps = [p for start, stop in ledger.missing(0, 25) for p in range(start, stop)]
    assert gaps == [p for p in range(25) if not counts[p]]


@pytest.mark.parametrize(("shard", "positions"), [(2, (0, 1)), (-1, (0, 1)), (0, (3, 2)), (0, (-1, 2))])
def test_impossible_commits_are_refused_and_leave_no_trace(shard, positions):
    ledger = SampleLedger(2)
    with pytest.raises(ValueError, match="no such commit"):
        ledger.commit(epoch=0, step=0, shard=shard, positions=positions)
    assert ledger.entries() == 0
