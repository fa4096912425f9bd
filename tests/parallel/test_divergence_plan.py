"""Who deviates, and where: over random states of random groups."""

from hypothesis import given
from hypothesis import strategies as st

from pliant.parallel.divergence_plan import Check, compare, explain, key_of

NAMES = [f"model.{index}" for index in range(6)]


def check(values, *, loose=()):
    entries = [(name, value.to_bytes(8, "little"), name in loose) for name, value in values.items()]
    return Check(entries, step=20, agreed=10, worker_of="w{}".format)


def names_of(*names):
    return {key_of(name, loose=False): name for name in names}


states = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3), min_size=1)


@given(state=states, size=st.integers(1, 9))
def test_equal_states_never_alarm(state, size):
    mine = check(state)
    assert mine.problem(dict.fromkeys(range(size), mine.body)) is None


@given(values=st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=2, max_size=7))
def test_the_first_tensor_that_differs_is_named_by_all_alike(values):
    checks = {rank: check(dict(zip(NAMES, row, strict=False))) for rank, row in enumerate(values)}
    bodies = {rank: each.body for rank, each in checks.items()}
    texts = {each.problem(bodies) for each in checks.values()}
    assert len(texts) == 1
    differing = [index for index in range(4) if len({row[index] for row in values}) > 1]
    if not differing:
        assert texts == {None}
        return
    found = compare(bodies, names=names_of(*NAMES))
    assert found.tensor == NAMES[differing[0]]
    assert found.differing == len(differing)
    assert found.compared == 4
    assert sorted(rank for group in found.groups for rank in group) == list(range(len(values)))
    for group in found.groups:
        assert len({values[rank][differing[0]] for rank in group}) == 1


@given(size=st.integers(3, 9), data=st.data())
def test_a_minority_is_named(size, data):
    count = data.draw(st.integers(1, (size - 1) // 2))
    odd = data.draw(st.permutations(range(size)))[:count]
    checks = {rank: check({"a": 1, "b": 7 if rank in odd else 2}).body for rank in range(size)}
    found = compare(checks, names=names_of("a", "b"))
    assert found.deviating == tuple(sorted(odd))
    text = explain(found, step=20, agreed=10, worker_of="w{}".format)
    assert all(f"w{rank}" in text.partition(" deviate")[0] for rank in odd)


@given(size=st.integers(2, 5), flips=st.sets(st.integers(0, 63), min_size=1, max_size=3))
def test_any_bit_of_a_digest_counts(size, flips):
    other = sum(1 << bit for bit in flips)
    checks = {rank: check({"a": other if rank == 1 else 0}).body for rank in range(size)}
    assert compare(checks, names=names_of("a")) is not None


def test_two_workers_disagree_and_nobody_is_accused():
    mine, other = check({"a": 1}), check({"a": 2})
    text = mine.problem({0: mine.body, 1: other.body})
    assert "w0 and w1 disagree" in text
    assert "no majority" in text
    assert "deviate" not in text


def test_what_is_said():
    mine, other = check({"a": 1, "b": 1, "c": 1}), check({"a": 1, "b": 2, "c": 2})
    text = mine.problem({0: mine.body, 1: other.body, 2: mine.body})
    assert "before step 20, w1 deviates from w0 and w2 in b, the first of 2 of 3 that differ" in text
    assert "last agreed before step 10: it happened in steps 10 to 19" in text
    assert "pliant verify" in text
    assert "no later than step 10" in text


def test_the_first_comparison_has_none_before_it():
    mine = Check([("a", b"01234567", False)], step=50, agreed=None)
    text = mine.problem({0: mine.body, 1: Check([("a", b"76543210", False)], step=50, agreed=None).body})
    assert "had not been compared before" in text
    assert "rank 0 and rank 1 disagree" in text


def test_a_worker_that_did_not_tell_is_left_out():
    mine, other = check({"a": 1}), check({"a": 2})
    assert mine.problem({0: mine.body, 1: b""}) is None
    assert mine.problem({0: mine.body, 1: b"", 2: other.body}) is not None


def test_what_only_some_workers_have():
    both, one = check({"a": 1, "b": 1}), check({"a": 1})
    found = compare({0: both.body, 1: one.body, 2: one.body}, names=names_of("a"))
    assert found.tensor == "a tensor that not all of them have"
    assert found.deviating == (0,)
    assert compare({0: both.body, 1: one.body, 2: one.body}, names=names_of("a", "b")).tensor == "b"


def test_a_cache_that_only_some_workers_have_made_does_not_count():
    both, one = check({"a": 1, "cache": 1}, loose=["cache"]), check({"a": 1})
    assert both.problem({0: both.body, 1: one.body}) is None
    assert one.problem({0: both.body, 1: one.body}) is None
    other = check({"a": 1, "cache": 2}, loose=["cache"])
    assert "cache" in both.problem({0: both.body, 1: other.body}), "one that two have does"
