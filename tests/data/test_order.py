import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.data.order import EpochOrder


def whole(size, **options):
    return EpochOrder(size, **{"seed": 0, "epoch": 0, "shuffle": True, **options}).indices(0, size)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 64, 97, 100, 1000, 1021, 4096, 65_537, 1 << 17])
@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (0, 1), (-5, 3), (1 << 80, 9)])
def test_every_sample_is_at_one_position(size, seed, epoch):
    order = whole(size, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(size))


@given(size=st.integers(1, 3000), seed=st.integers(), epoch=st.integers(0, 1 << 40))
def test_is_a_bijection_whatever_the_numbers(size, seed, epoch):
    assert np.array_equal(np.sort(whole(size, seed=seed, epoch=epoch)), np.arange(size))


@given(size=st.integers(1, 1 << 62), data=st.data())
def test_asking_in_parts_is_asking_at_once(size, data):
    order = EpochOrder(size, seed=3, epoch=1)
    start = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(start, min(start + 200, size)))
    at_once = order.indices(start, stop)
    assert [int(order.indices(p, p + 1)[0]) for p in range(start, stop)] == at_once.tolist()
    assert len(set(at_once.tolist())) == stop - start
    assert all(0 <= index < size for index in at_once.tolist())


@pytest.mark.parametrize("size", [10**9, 10**9 + 7, 1 << 32, 3 * 10**12])
def test_a_billion_samples_in_small_memory(size):
    order = EpochOrder(size, seed=1, epoch=0)
    starts = range(0, size - 1000, size // 50)
    seen = np.concatenate([order.indices(start, start + 1000) for start in starts])
    assert len(np.unique(seen)) == len(seen)
    assert seen.min() >= 0
    assert seen.max() < size
    # Spread over the whole range, not clustered: the mean of n uniform draws lies within 6 standard errors.
    assert abs(seen.mean() / size - 0.5) < 6 * 0.2887 / np.sqrt(len(seen))


def test_seed_epoch_and_size_all_change_the_order():
    base = whole(1000)
    assert np.array_equal(base, whole(1000))
    for other in (whole(1000, seed=1), whole(1000, epoch=1)):
        assert (base == other).mean() < 0.02
    assert not np.array_equal(whole(1001)[:1000], base)


def test_without_shuffle_the_order_is_as_stored():
    assert whole(10, shuffle=False, epoch=4).tolist() == list(range(10))


def test_the_order_is_the_same_for_ever():
    # Golden: a job continued under a newer version must find the same order.
    assert whole(10, seed=7, epoch=2).tolist() == [9, 4, 3, 6, 0, 7, 2, 1, 5, 8]
    assert EpochOrder(10**9, seed=7, epoch=2).indices(5, 9).tolist() == [358914522, 432255496, 896681501, 613360442]


@pytest.mark.parametrize("size", [64, 1000, 1021])
def test_each_sample_lands_everywhere_alike(size):
    """Chi-square of (position bucket, sample bucket) over many epochs, and of the step from one index to the next."""
    buckets, epochs = 8, 400
    table = np.zeros((buckets, buckets))
    gaps = np.zeros(buckets)
    for epoch in range(epochs):
        order = whole(size, seed=11, epoch=epoch)
        np.add.at(table, (np.arange(size) * buckets // size, order * buckets // size), 1)
        np.add.at(gaps, (np.diff(order) % size) * buckets // size, 1)
    row, column = np.bincount(np.arange(size) * buckets // size), np.bincount(np.arange(size) * buckets // size)
    expected = np.outer(row, column) / size * epochs
    chi_square = ((table - expected) ** 2 / expected).sum()
    degrees = (buckets - 1) ** 2
    assert chi_square < degrees + 6 * np.sqrt(2 * degrees)
    gap_share = np.bincount(np.arange(1, size) * buckets // size, minlength=buckets) / (size - 1)
    expected_gaps = gap_share * gaps.sum()
    assert ((gaps - expected_gaps) ** 2 / expected_gaps).sum() < 7 + 6 * np.sqrt(14)


@pytest.mark.parametrize("size", [0, -1, (1 << 62) + 1])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match=str(size)):
        EpochOrder(size, seed=0, epoch=0)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (5, 11)])
def test_positions_outside_are_refused(start, stop):
    with pytest.raises(ValueError, match="10 samples"):
        EpochOrder(10, seed=0, epoch=0).indices(start, stop)
