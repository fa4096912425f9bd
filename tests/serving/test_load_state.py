"""The mean and the peak of the last seconds, against the step function itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.serving.load_state import LoadHistory

CHANGES = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 50)), min_size=1, max_size=40)


def area(steps, begin_s, end_s):
    """Of the step function (0 before the first step)."""
    total = 0.0
    for (time_s, count), (until_s, _) in zip(steps, [*steps[1:], (end_s, 0)], strict=True):
        total += count * max(0.0, min(until_s, end_s) - max(time_s, begin_s))
    return total


@given(CHANGES, st.floats(0, 8))
def test_a_window_that_holds_everything_is_exact(changes, rest_s):
    history, steps, now_s = LoadHistory(keep_s=500, bucket_s=0.1), [], 100.0
    for gap_s, count in changes:
        now_s += gap_s
        history.change(now_s, count)
        steps.append((now_s, count))
    end_s = now_s + rest_s
    assert history.mean(end_s, 400) * 400 == pytest.approx(area(steps, 0, end_s), abs=1e-6)
    assert history.peak(end_s, 400) == max((count for _, count in steps), default=0)


@given(CHANGES, st.floats(0.5, 4), st.floats(0, 8))
def test_any_window_is_as_exact_as_its_oldest_bucket(changes, window_s, rest_s):
    history, steps, now_s = LoadHistory(keep_s=4, bucket_s=0.1), [], 0.0
    for gap_s, count in changes:
        now_s += gap_s
        history.change(now_s, count)
        steps.append((now_s, count))
        most = max(count for _, count in steps)
        exact = area(steps, now_s - window_s, now_s)
        assert abs(history.mean(now_s, window_s) * window_s - exact) <= most * 0.1 + 1e-6
    end_s = now_s + rest_s
    exact = area(steps, end_s - window_s, end_s)
    most = max((count for _, count in steps), default=0)
    assert abs(history.mean(end_s, window_s) * window_s - exact) <= most * 0.1 + 1e-6


def test_an_idle_hour_costs_nothing_and_is_remembered_as_one():
    history = LoadHistory(keep_s=10)
    history.change(0.0, 7)
    history.change(3600.0, 3)
    assert history.mean(3600.0, 10) == pytest.approx(7)
    assert history.mean(3605.0, 10) == pytest.approx(5)
    assert len(history._buckets) < 200


def test_before_the_first_request_there_was_none():
    history = LoadHistory(keep_s=10)
    assert history.mean(50.0, 10) == 0
    history.change(50.0, 4)
    assert history.mean(55.0, 10) == pytest.approx(2)
    assert history.count == 4
