"""How often a job may go on from a checkpoint."""

from hypothesis import given
from hypothesis import strategies as st

from pliant.membership.restart_plan import MAX_FRUITLESS, Restarts


def test_three_restarts_without_progress_are_enough():
    restarts = Restarts()
    assert [restarts.allow(40) for _ in range(5)] == [True, True, True, False, False]


def test_progress_beyond_the_best_so_far_counts_anew_and_less_does_not():
    restarts = Restarts()
    assert [restarts.allow(reached) for reached in (40, 40, 45, 30, 44, 45)] == [True] * 5 + [False]
    assert restarts.furthest == 45


@given(st.lists(st.integers(0, 6), max_size=60))
def test_a_job_never_ends_while_it_gets_further_and_always_does_otherwise(reached):
    restarts = Restarts()
    best, since = -1, 0
    for step in reached:
        since = 0 if step > best else since
        best = max(best, step)
        assert restarts.allow(step) == (since < MAX_FRUITLESS)
        since += since < MAX_FRUITLESS
