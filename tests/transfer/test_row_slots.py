import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pliant.transfer.row_slots import GOLDEN, finalized, mixed, slot_of

INT64 = st.integers(-(2**63), 2**63 - 1)


def test_the_sequence_is_the_published_one():
    """The first numbers of SplitMix64 from seed 0 and 1234567, as its authors' C program prints them."""
    steps = np.arange(1, 4, dtype=np.uint64)
    assert [hex(word) for word in finalized(steps * GOLDEN)] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]
    assert finalized(steps * GOLDEN + np.uint64(1234567)).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(st.lists(INT64, unique=True, max_size=50))
def test_different_ids_have_different_hashes(ids):
    assert len(set(mixed(np.array(ids, np.int64)).tolist())) == len(ids)


def test_slots_stay_what_they_are():
    ids = np.array([0, 1, 2, 3, -1, 2**63 - 1, -(2**63)], np.int64)
    assert slot_of(ids).tolist() == [47, 1, 14, 45, 32, 39, 27]


def test_neighbouring_ids_spread_evenly():
    counts = np.bincount(slot_of(np.arange(64_000, dtype=np.int64)), minlength=64)
    assert len(counts) == 64
    assert 850 < counts.min() <= counts.max() < 1150  # 1000 each; the standard deviation is 31


def test_ids_are_not_changed():
    ids = np.arange(5, dtype=np.int64)
    slot_of(ids)
    assert ids.tolist() == [0, 1, 2, 3, 4]
