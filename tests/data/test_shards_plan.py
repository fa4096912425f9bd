import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.data.shards_plan import sample_range, steps_of_shard, steps_per_epoch

recipes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 500), st.booleans())


@given(recipes)
def test_an_epoch_is_cut_without_gaps_or_overlaps(recipe):
    shards, per_shard, size, drop_last = recipe
    batch_size = shards * per_shard
    options = {"batch_size": batch_size, "shards": shards, "size": size, "drop_last": drop_last}
    steps = steps_per_epoch(batch_size=batch_size, size=size, drop_last=drop_last)
    reached = 0
    for step in range(steps):
        lengths = []
        for shard in range(shards):
            start, stop = sample_range(step=step, shard=shard, **options)
            if start != stop:
                assert start == reached
                reached = stop
            assert (start != stop) == (step < steps_of_shard(shard=shard, **options))
            lengths.append(stop - start)
        assert sum(lengths) > 0
        assert lengths == sorted(lengths, reverse=True)
        if step < size // batch_size:
            assert lengths == [per_shard] * shards
    assert reached == (size - size % batch_size if drop_last else size)
    start, stop = sample_range(step=steps, shard=0, **options)
    assert start == stop


def test_the_last_batch_fills_the_first_shards():
    ranges = [sample_range(step=2, shard=shard, batch_size=8, shards=4, size=19, drop_last=False) for shard in range(4)]
    assert ranges == [(16, 18), (18, 19), (19, 19), (19, 19)]


@pytest.mark.parametrize(("step", "shard"), [(0, -1), (0, 4), (-1, 0)])
def test_impossible_places_are_refused(step, shard):
    with pytest.raises(ValueError, match=str(step if step < 0 else shard)):
        sample_range(step=step, shard=shard, batch_size=8, shards=4, size=19, drop_last=False)
