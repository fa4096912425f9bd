import pytest

from pliant.control.stalls import stall_s

STEADY = [float(second) for second in range(1, 11)]  # commits at 1 .. 10, a second each


def cost(times, begin, last, origin=0.0):
    return stall_s(times, origin_s=origin, begin_s=begin, last_step=last)


def test_nothing_lost():
    assert cost(STEADY, 4.5, 6) == pytest.approx(0.0)


def test_longest_gap_less_the_usual_step():
    times = [*STEADY, 14.0, 15.0]
    assert cost(times, 10.3, 11) == pytest.approx(3.0)


def test_only_gaps_of_the_window_count():
    times = [1.0, 2.0, 7.0, 8.0, 9.0, 10.0, 30.0]
    assert cost(times, 7.5, 5) == pytest.approx(0.0)
    assert cost(times, 1.5, 4) == pytest.approx(4.0)


def test_slow_steps_before_are_the_measure():
    times = [2.0, 4.0, 6.0, 9.0]
    assert cost(times, 6.5, 3) == pytest.approx(1.0)


def test_at_the_very_beginning():
    assert cost([3.0, 4.0, 5.0], 0.5, 1) == pytest.approx(2.0)
    assert cost([3.0], 0.5, 1) == pytest.approx(3.0)


def test_never_negative():
    assert cost([10.0, 20.0, 21.0], 20.5, 2) == 0.0


def test_unknown_while_nothing_was_committed_after_it():
    assert cost(STEADY, 10.5, 12) is None
    assert cost([], 1.0, 3) is None
    assert cost(STEADY, 5.5, 2) is None
