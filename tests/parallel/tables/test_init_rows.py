import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.parallel.tables.init_rows import initial_rows, row_words, table_key
from pliant.wire.tables import RowInit, RowSGD, TableSpec

INT64 = st.integers(-(2**63), 2**63 - 1)
KINDS = ["uniform", "normal"]
GOLDEN_IDS = np.array([0, 1, 2, -1, 2**63 - 1, -(2**63), 123456789], np.int64)


def spec(kind="uniform", *, dim=8, scale=0.05, seed=0, name="users"):
    return TableSpec(name=name, dim=dim, optimizer=RowSGD(lr=0.1), seed=seed, init=RowInit(kind, scale))


GOLDEN = {
    ("uniform", 8): "7707633196af10d1f86aaf85f8ae72bea87219369eab59c98c35614a64e769b6",
    ("uniform", 7): "b9228bea99519be72e1a8a8fdd2978d08daa6f39d4ca5feec7ec1af6943d169c",
    ("normal", 8): "5f913b282e7aaba8cad5d856960a195a3016989e71a4a71a1d83991f27a63cf3",
}


@pytest.mark.parametrize(("kind", "dim"), GOLDEN)
def test_fixed_bytes(kind, dim):
    """On every machine, for ever: whoever changes them changes the result of every job with a table."""
    rows = initial_rows(spec(kind, dim=dim), GOLDEN_IDS)
    assert hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest() == GOLDEN[kind, dim]


def test_the_words_are_the_sequence_written_out_in_integers():
    mask = 2**64 - 1

    def finalized(word):
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
        return word ^ (word >> 31)

    golden = 0x9E3779B97F4A7C15
    key = table_key(spec())
    for one in GOLDEN_IDS.tolist():
        start = finalized(finalized((one + golden) & mask) ^ int(key))
        expected = [finalized((start + number * golden) & mask) for number in range(1, 6)]
        assert row_words(key, np.array([one]), 5)[0].tolist() == expected


def test_a_uniform_row_written_out():
    words = row_words(table_key(spec()), np.array([42]), 2)[0].tolist()
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    expected = [np.float32((half >> 8) * 2 + 1 - 2**24) * np.float32(0.5 / 2**24) for half in halves]
    assert initial_rows(spec(dim=4, scale=0.5), np.array([42]))[0].tolist() == expected


def test_a_normal_row_written_out():
    words = row_words(table_key(spec()), np.array([42]), 6)[0].tolist()
    parts = [(word >> shift) & 0xFFFF for word in words for shift in (0, 16, 32, 48)]
    sums = [sum(parts[start : start + 8]) * 2 - 8 * 0xFFFF for start in range(0, 24, 8)]
    factor = np.float32(0.5 / (8 * (2**32 - 1) / 3) ** 0.5)
    assert initial_rows(spec("normal", dim=3, scale=0.5), np.array([42]))[0].tolist() == [
        np.float32(each) * factor for each in sums
    ]


@given(st.lists(INT64, unique=True, min_size=1, max_size=30), st.sampled_from(KINDS), st.integers(1, 9), st.data())
def test_a_row_does_not_depend_on_the_batch(ids, kind, dim, data):
    one = data.draw(st.sampled_from(ids))
    batch = initial_rows(spec(kind, dim=dim), np.array(ids, np.int64))
    alone = initial_rows(spec(kind, dim=dim), np.array([one], np.int64))
    assert batch[ids.index(one)].tobytes() == alone[0].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_the_block_it_is_made_in(kind):
    ids = np.arange(20_000, dtype=np.int64)
    whole = initial_rows(spec(kind, dim=16), ids)
    assert (whole[12_345:] == initial_rows(spec(kind, dim=16), ids[12_345:])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_moments(kind):
    values = initial_rows(spec(kind, dim=50, scale=2.0), np.arange(20_000, dtype=np.int64)).astype(np.float64).ravel()
    deviation = 2.0 if kind == "normal" else 2.0 / 3**0.5
    assert abs(values.mean()) < 0.01
    assert abs(values.std() / deviation - 1) < 0.005
    fourth = (values**4).mean() / values.var() ** 2
    assert abs(fourth - (2.85 if kind == "normal" else 1.8)) < 0.02
    neighbours = np.corrcoef(values[1:], values[:-1])[0, 1]
    assert abs(neighbours) < 0.005


def test_uniform_values_stay_within_the_scale():
    values = initial_rows(spec(dim=50, scale=0.25), np.arange(5000, dtype=np.int64))
    assert np.abs(values).max() < 0.25
    assert np.abs(values).max() > 0.2499


@pytest.mark.parametrize("other", [spec(seed=1), spec(name="items"), spec("normal")])
def test_seed_name_and_kind_matter(other):
    ids = np.arange(10, dtype=np.int64)
    assert not (initial_rows(spec(), ids) == initial_rows(other, ids)).any()


def test_zeros_are_zeros():
    assert not initial_rows(spec("zeros"), GOLDEN_IDS).any()
