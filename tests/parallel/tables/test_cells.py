import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.parallel.tables import cells
from pliant.parallel.tables.cells import Cells

IDS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=60)


def array(ids):
    return np.array(ids, np.int64)


@pytest.mark.parametrize("hashes", ["spread", "all alike", "all at the end"])
@given(ids=IDS, data=st.data())
def test_what_is_taken_in_is_found_and_what_is_erased_is_not(hashes, ids, data):
    table = Cells(7)
    with pytest.MonkeyPatch.context() as patch:
        if hashes != "spread":
            value = 0 if hashes == "all alike" else 2**64 - 1
            patch.setattr(cells, "mixed", lambda ids: np.full(len(ids), value, np.uint64))
        half = len(ids) // 2
        table.claim(array(ids[:half]), np.arange(half))
        table.claim(array(ids[half:]), np.arange(half, len(ids)))
        at, positions = table.probe(array(ids))
        assert positions.tolist() == list(range(len(ids)))
        assert len(set(at.tolist())) == len(ids) == table.used
        gone = data.draw(st.sets(st.sampled_from(range(len(ids))))) if ids else set()
        table.erase(at[sorted(gone)])
        expected = [-1 if number in gone else number for number in range(len(ids))]
        assert table.probe(array(ids))[1].tolist() == expected
        assert table.used == len(ids)
        found = dict(zip(*(part.tolist() for part in table.take_out(0, len(table))), strict=True))
        assert table.probe(array(ids))[1].tolist() == [-1] * len(ids)
        assert found == {one: number for number, one in enumerate(ids) if number not in gone}


def test_the_places_of_removed_ids_are_used_again():
    table = Cells(4)
    for _ in range(50):
        table.claim(array([7]), array([0]))
        table.erase(table.probe(array([7]))[0])
    assert table.used == 1


def test_a_fresh_table_has_not_even_the_id_of_its_zeros():
    assert Cells(5).probe(array([0, -1, 1]))[1].tolist() == [-1, -1, -1]


def test_positions_can_be_changed():
    table = Cells(5)
    table.claim(array([7, 8]), array([0, 1]))
    table.assign(table.probe(array([7]))[0], array([5]))
    assert table.probe(array([7, 8]))[1].tolist() == [5, 1]


def test_taken_out_in_parts_all_are_taken_out():
    table = Cells(6)
    table.claim(np.arange(30), np.arange(30))
    parts = [table.take_out(start, start + 16) for start in range(0, 64, 16)]
    assert sorted(np.concatenate([ids for ids, _ in parts]).tolist()) == list(range(30))
    assert not len(table.take_out(0, 64)[0])
