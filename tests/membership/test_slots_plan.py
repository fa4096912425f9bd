"""Where slots should be in the end: balanced, contiguous at first, and never moved without need."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.membership.slots_plan import first_goal, is_balanced, next_goal

SLOTS = 64


def names(count):
    return [f"s{number + 1}" for number in range(count)]


def moves(before, after):
    return sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))


def test_two_servers_are_primaries_of_one_half_each():
    goal = first_goal(names(2), copies=2, slots=SLOTS)
    assert goal == (("s1", "s2"),) * 32 + (("s2", "s1"),) * 32


@given(st.integers(1, 20), st.integers(1, 4))
def test_the_first_goal_has_runs_and_is_balanced(count, copies):
    servers = names(count)
    goal = first_goal(servers, copies=min(copies, count), slots=SLOTS)
    assert is_balanced(goal, servers)
    assert all(len(set(holders)) == min(copies, count) for holders in goal)
    changes = sum(goal[slot][0] != goal[slot + 1][0] for slot in range(SLOTS - 1))
    assert changes == count - 1


@given(st.integers(1, 24), st.integers(1, 3))
def test_a_server_more_moves_its_share_and_nothing_else(count, copies):
    servers = names(count + 1)
    goal = first_goal(servers[:-1], copies=min(copies, count), slots=SLOTS)
    grown = next_goal(goal, servers, copies=copies)
    new = servers[-1]
    assert is_balanced(grown, servers)
    for before, after in zip(goal, grown, strict=True):
        assert set(after) <= {*before, new}
    share = SLOTS * min(copies, count + 1) // (count + 1)
    assert moves(goal, grown) == share or count < copies, "whole copies come with the servers that are missing for them"


@given(st.integers(2, 24), st.integers(1, 2), st.data())
def test_a_server_less_moves_what_it_had_and_nothing_else(count, copies, data):
    servers = names(count)
    goal = first_goal(servers, copies=min(copies, count), slots=SLOTS)
    gone = data.draw(st.sampled_from(servers))
    left = [server for server in servers if server != gone]
    shrunk = next_goal(goal, left, copies=copies)
    assert is_balanced(shrunk, left)
    had = sum(gone in holders for holders in goal)
    assert moves(goal, shrunk) == (had if len(left) >= copies else 0)
    for before, after in zip(goal, shrunk, strict=True):
        assert len(after) == min(copies, len(left))
        assert set(before) - {gone} <= set(after)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sets(st.integers(1, 12)), st.integers(1, 4)), min_size=1, max_size=12))
def test_any_sequence_of_servers_stays_balanced(steps):
    goal = ((),) * SLOTS
    for numbers, copies in steps:
        servers = [f"s{number}" for number in sorted(numbers)]
        goal = next_goal(goal, servers, copies=copies)
        assert is_balanced(goal, servers)
        assert all(len(set(holders)) == min(copies, len(servers)) for holders in goal)
        assert next_goal(goal, servers, copies=copies) == goal


def test_primaries_are_balanced_without_a_move():
    goal = (("s1", "s2"),) * 21 + (("s2", "s3"),) * 21 + (("s1", "s3"),) * 22
    balanced = next_goal(goal, names(3), copies=2)
    assert moves(goal, balanced) == 0
    assert is_balanced(balanced, names(3))
