import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.comm.tree import fold, maximal_subtrees, sibling_merge, split


def documented(start, stop):
    """The tree as text, written down once more: split at the largest power of two below the size."""
    size = stop - start
    if size == 1:
        return str(start)
    half = 1
    while half * 2 < size:
        half *= 2
    return f"({documented(start, start + half)}+{documented(start + half, stop)})"


def joined(left, right):
    return f"({left}+{right})"


def nodes_of(shards):
    found = []

    def visit(node):
        found.append(node)
        if node[1] - node[0] > 1:
            for child in split(node):
                visit(child)

    visit((0, shards))
    return found


@st.composite
def dealt(draw, most=16):
    """(shards, owner of each shard)."""
    shards = draw(st.integers(1, most))
    members = draw(st.integers(1, shards + 1))
    return shards, [draw(st.integers(0, members - 1)) for _ in range(shards)]


def test_eight_shards_add_up_as_the_design_says():
    assert documented(0, 8) == "(((0+1)+(2+3))+((4+5)+(6+7)))"
    assert fold({(v, v + 1): str(v) for v in range(8)}, 8, joined) == documented(0, 8)


def test_shard_counts_that_are_no_power_of_two():
    assert fold({(v, v + 1): str(v) for v in range(7)}, 7, joined) == "(((0+1)+(2+3))+((4+5)+6))"
    assert fold({(v, v + 1): str(v) for v in range(3)}, 3, joined) == "((0+1)+2)"


@pytest.mark.parametrize("shards", range(1, 17))
def test_every_subset_is_covered_by_the_fewest_subtrees(shards):
    if shards > 10:
        subsets = [
            [v for v in range(shards) if (v * step + offset) % 5 < 3] for step in range(1, 8) for offset in range(5)
        ]
    else:
        subsets = [[v for v in range(shards) if bits >> v & 1] for bits in range(1 << shards)]
    nodes = set(nodes_of(shards))
    for held in subsets:
        found = maximal_subtrees(held, shards)
        assert [v for node in found for v in range(*node)] == held
        assert nodes.issuperset(found)
        siblings = [sibling_merge(found, node, shards) for node in found]
        assert siblings == [None] * len(found), "two of them could have been one"


@given(dealt())
def test_who_held_what_never_changes_the_order_of_additions(case):
    shards, owner = case
    partials = {}
    for member in set(owner):
        for start, stop in maximal_subtrees([v for v in range(shards) if owner[v] == member], shards):
            partials[start, stop] = documented(start, stop)
    assert fold(partials, shards, joined) == documented(0, shards)


@given(dealt(most=12), st.randoms(use_true_random=False))
def test_merging_siblings_as_they_come_ends_in_the_maximal_subtrees(case, order):
    shards, owner = case
    held = [v for v in range(shards) if owner[v] == owner[0]]
    order.shuffle(held)
    open_ = {}
    for shard in held:
        node = (shard, shard + 1)
        open_[node] = str(shard)
        while (other := sibling_merge(open_, node, shards)) is not None:
            left, right = sorted([node, other])
            merged = joined(open_.pop(left), open_.pop(right))
            node = (left[0], right[1])
            open_[node] = merged
    assert sorted(open_) == maximal_subtrees(held, shards)
    assert all(text == documented(*node) for node, text in open_.items())


def test_a_missing_shard_is_named():
    with pytest.raises(KeyError) as caught:
        fold({(0, 2): "a", (3, 4): "b"}, 4, joined)
    assert caught.value.args == (2,)


def test_a_node_outside_the_tree_has_no_sibling():
    assert sibling_merge({(0, 1), (1, 2)}, (1, 3), 4) is None
    assert sibling_merge({(0, 1)}, (0, 1), 1) is None


def test_nobody_holds_nothing():
    assert maximal_subtrees([], 8) == []


def test_what_was_added_up_is_let_go_of_at_once():
    """Without waiting for Python to look for cycles: the partial sums of a pass are as large as the model."""

    class Sum:
        def __add__(self, other):
            return Sum()

    parts = {(start, start + 1): Sum() for start in range(5)}
    gone = [weakref.ref(part) for part in parts.values()]
    gc.disable()
    try:
        fold(parts, 5, lambda left, right: left + right)
        maximal_subtrees([0, 1, 3], 5)
        del parts
        assert [ref() for ref in gone] == [None] * 5
    finally:
        gc.enable()
