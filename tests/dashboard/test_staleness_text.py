"""What is said of workers that do not wait for each other."""

import msgspec
import pytest
from dashboard_samples import REPORT, STALE, STALE_REPORT, STATUS
from hypothesis import given
from hypothesis import strategies as st

from pliant.dashboard.staleness_text import bins, measured, measured_in_all, mode, promises
from pliant.wire.messages import UNBOUNDED


@pytest.mark.parametrize(
    ("staleness", "text"),
    [
        (None, "synchronous"),
        (UNBOUNDED, "asynchronous"),
        (0, "all in the same step"),
        (1, "at most 1 step apart"),
        (4, "at most 4 steps apart"),
    ],
)
def test_mode(staleness, text):
    assert mode(staleness) == text


def test_promises_are_one_line():
    for staleness, who in ((UNBOUNDED, "no worker waits for another: "), (2, "workers are at most 2 steps apart: ")):
        text = promises(staleness)
        assert text.startswith(who)
        assert "each push is applied once; that the weights have the same bits each time is not promised" in text
        assert "\n" not in text


def test_measured():
    assert measured(STALE) == "at most 4 steps apart, staleness 1.8"
    assert measured(msgspec.structs.replace(STALE, mean_staleness=None)) == "at most 4 steps apart"
    assert measured(STATUS) == ""
    assert measured_in_all(STALE_REPORT) == "1.4 updates on average, 9 at most"
    assert measured_in_all(REPORT) == ""


def test_bins_of_width_one_and_of_more():
    assert bins({}, most=3) == []
    assert bins({0: 5, 2: 1}, most=3) == [(0, 0, 5), (1, 1, 0), (2, 2, 1)]
    assert bins({0: 5, 2: 1, 3: 7}, most=3) == [(0, 1, 5), (2, 3, 8)]


@given(st.dictionaries(st.integers(0, 3000), st.integers(1, 9), min_size=1), st.integers(1, 50))
def test_bins_lose_nothing(pushes, most):
    found = bins(pushes, most=most)
    assert 1 <= len(found) <= most
    for low, high, times in found:
        assert times == sum(count for staleness, count in pushes.items() if low <= staleness <= high)
    assert sum(times for _, _, times in found) == sum(pushes.values())
