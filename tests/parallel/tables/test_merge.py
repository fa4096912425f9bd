import torch
from hypothesis import given
from hypothesis import strategies as st
from table_model import grads_for, ids_of, raw

from pliant.comm.tree import fold, maximal_subtrees, split
from pliant.parallel.tables.merge import RowGrads, merge_rows

DIM = 3
IDS = st.one_of(st.integers(0, 10), st.sampled_from([-(2**63), 2**63 - 1]))
ROWS = st.tuples(st.sets(IDS, max_size=8), st.integers(0, 100)).map(lambda case: rows_of(*case))


def rows_of(numbers, seed):
    ids = ids_of(numbers)
    return RowGrads(ids, grads_for(ids, DIM, seed))


def as_dict(rows):
    return dict(zip(rows.ids.tolist(), rows.grads, strict=True))


def subtree(leaves, node):
    if node[1] - node[0] == 1:
        return leaves[node[0]]
    left, right = split(node)
    return merge_rows(subtree(leaves, left), subtree(leaves, right))


@given(ROWS, ROWS)
def test_a_sum_is_that_of_two_dicts(left, right):
    before = [raw(each) for each in (*left, *right)]
    total = merge_rows(left, right)
    assert [raw(each) for each in (*left, *right)] == before
    assert total.ids.tolist() == sorted({*left.ids.tolist(), *right.ids.tolist()})
    one, other = as_dict(left), as_dict(right)
    for number, grad in as_dict(total).items():
        expected = one[number] + other[number] if number in one and number in other else (one | other)[number]
        assert raw(grad) == raw(expected)


def test_a_row_of_one_side_keeps_its_zeros_sign():
    zero = torch.full((1, DIM), -0.0)
    for sides in ([ids_of([1]), ids_of([2])], [ids_of([2]), ids_of([1])]):
        total = merge_rows(RowGrads(sides[0], zero), RowGrads(sides[1], zero))
        assert raw(total.grads) == raw(torch.full((2, DIM), -0.0))


@given(st.data(), st.lists(ROWS, min_size=1, max_size=12))
def test_who_held_which_shard_changes_no_bit(data, leaves):
    shards = len(leaves)
    expected = fold({(v, v + 1): leaf for v, leaf in enumerate(leaves)}, shards, merge_rows)
    workers = data.draw(st.integers(1, shards))
    owner = data.draw(st.lists(st.integers(0, workers - 1), min_size=shards, max_size=shards))
    partials = {}
    for worker in set(owner):
        for node in maximal_subtrees([v for v in range(shards) if owner[v] == worker], shards):
            partials[node] = subtree(leaves, node)
    total = fold(partials, shards, merge_rows)
    assert [raw(each) for each in total] == [raw(each) for each in expected]


def test_the_order_of_additions_is_that_of_the_tree():
    values = [1e8, 1.0, -1e8, 1.0]
    leaves = {(v, v + 1): RowGrads(ids_of([7]), torch.full((1, DIM), value)) for v, value in enumerate(values)}
    expected = (torch.tensor(1e8) + 1.0) + (torch.tensor(-1e8) + 1.0)
    assert fold(leaves, 4, merge_rows).grads[0, 0] == expected
    assert expected != sum(values)
