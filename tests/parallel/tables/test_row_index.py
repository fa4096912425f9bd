import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.parallel.tables import cells, row_index
from pliant.parallel.tables.row_index import RowIndex
from pliant.transfer.row_slots import mixed

EXTREMES = [0, -1, -2, 1, 2**63 - 1, -(2**63), 2**32, -(2**32)]
IDS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from(EXTREMES), st.integers(0, 60))
BATCHES = st.lists(
    st.tuples(st.sampled_from(["insert", "remove", "find"]), st.lists(IDS, unique=True, max_size=40)), max_size=25
)


def array(ids):
    return np.array(ids, np.int64)


class Model:
    """A dict, and rows that are moved as the index says."""

    def __init__(self):
        self.index = RowIndex()
        self.rows = np.empty(100_000, object)
        self.known = set()

    def insert(self, ids):
        positions = self.index.insert(array(ids))
        for one, position in zip(ids, positions, strict=True):
            if one in self.known:
                assert self.rows[position] == one
            self.rows[position] = one
        self.known |= set(ids)

    def remove(self, ids):
        there = [one for one in ids if one in self.known]
        moves = self.index.remove(array(there))
        self.rows[moves.targets] = self.rows[moves.sources]
        self.known -= set(there)

    def check(self, others=()):
        assert len(self.index) == len(self.known)
        assert sorted(self.index.ids().tolist()) == sorted(self.known)
        asked = [*self.known, *others, *EXTREMES]
        positions = self.index.find(array(asked))
        for one, position in zip(asked, positions.tolist(), strict=True):
            assert (position >= 0) == (one in self.known)
            assert position < 0 or self.rows[position] == self.index.ids()[position] == one


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(0, 5), st.booleans())
def test_between_two_tables(seed, pace, crowded):
    """Growing takes many insertions; all else goes on meanwhile. Crowded: at the end of the table, and so around it."""
    random = np.random.default_rng(seed)
    model = Model()
    between = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_index, "_LEAST_MOVED", 1)
        patch.setattr(row_index, "_MOVED_PER_ID", pace)
        if crowded:
            patch.setattr(cells, "mixed", lambda ids: mixed(ids) | np.uint64(0xF << 60))
        for _ in range(24):
            model.insert(np.unique(random.integers(0, 1500, 120)).tolist())
            known = sorted(model.known)
            random.shuffle(known)
            model.remove(known[: random.integers(0, 60)])
            model.check(random.integers(0, 1500, 20).tolist())
            between += model.index._old is not None
    assert between


@given(BATCHES)
def test_an_index_is_a_dict(batches):
    model = Model()
    for kind, ids in batches:
        if kind == "find":
            model.check(ids)
        else:
            getattr(model, kind)(ids)
    model.check()


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.integers(0, 50))
def test_large_batches_come_and_go(seed, kept):
    """Through several sizes of the table, up and down again, with removed cells in between."""
    random = np.random.default_rng(seed)
    model = Model()
    for _ in range(6):
        model.insert(np.unique(random.integers(0, 20_000, 4000)).tolist())
        known = sorted(model.known)
        random.shuffle(known)
        model.remove(known[: len(known) * random.integers(0, 100) // 100])
        model.check(random.integers(0, 20_000, 50).tolist())
    model.remove(sorted(model.known)[kept:])
    model.check()


def test_ids_that_all_want_the_same_cell(monkeypatch):
    monkeypatch.setattr(cells, "mixed", lambda ids: np.full(len(ids), 2**64 - 1, np.uint64))
    model = Model()
    model.insert(list(range(100)))
    model.check(range(100, 120))
    model.remove(list(range(0, 100, 3)))
    model.check(range(120))
    model.insert(list(range(50, 150)))
    model.check(range(200))


def test_finding_takes_ids_twice():
    index = RowIndex()
    index.insert(array([7, 5]))
    assert index.find(array([5, 7, 5, 6])).tolist() == [1, 0, 1, -1]


def test_positions_are_dense_and_removal_fills_them_from_the_end():
    index = RowIndex()
    index.insert(array([10, 11, 12, 13, 14]))
    moves = index.remove(array([11, 13]))
    assert (moves.sources.tolist(), moves.targets.tolist()) == ([4], [1])
    assert index.ids().tolist() == [10, 14, 12]
    assert index.insert(array([20])).tolist() == [3]


def test_removing_what_is_not_there_changes_nothing():
    index = RowIndex()
    index.insert(array([1, 2]))
    with pytest.raises(KeyError, match="3"):
        index.remove(array([1, 3]))
    assert index.find(array([1, 2])).tolist() == [0, 1]


def test_nothing_is_no_problem():
    index = RowIndex()
    assert index.find(array([])).tolist() == []
    assert index.insert(array([])).tolist() == []
    assert index.remove(array([])).sources.tolist() == []


def test_size_is_foretold():
    index = RowIndex()
    exact = 0
    for start in range(0, 20_000, 500):
        before = index.size_bytes
        foretold = index.bytes_to_insert(500)
        index.insert(np.arange(start, start + 500))
        assert index.size_bytes - before <= foretold
        exact += index.size_bytes - before == foretold
    assert exact > 20


def test_churn_does_not_let_the_table_grow():
    index = RowIndex()
    index.insert(np.arange(300))
    for start in range(0, 30_000, 100):
        index.remove(np.arange(start, start + 100))
        index.insert(np.arange(start + 300, start + 400))
    assert len(index) == 300
    assert index.size_bytes < 64 << 10


def test_a_table_that_lost_most_of_its_rows_shrinks():
    index = RowIndex()
    index.insert(np.arange(50_000))
    large = index.size_bytes
    index.remove(np.arange(49_000))
    assert index.size_bytes < large / 10
    assert (index.find(np.arange(50_000)) >= 0).sum() == 1000
