"""What the router measures."""

import pytest

from pliant.serving.meter import MOST_RECENT, RECENT_S, Meter, recent_latency


def test_latencies_of_the_last_seconds_over_all_versions():
    old, new = Meter(), Meter()
    assert recent_latency([old, new], 100.0) is None
    old.took(0.0, 9.0)
    for number in range(99):
        (old if number % 2 else new).took(50.0, (number + 1) / 1000)
    new.took(50.0, 5.0)
    assert recent_latency([old, new], 51.0) == (0.050, 0.099)
    assert recent_latency([old, new], 50.0 + RECENT_S) is None


def test_one_answer():
    meter = Meter()
    meter.took(1.0, 0.25)
    assert recent_latency([meter], 1.0) == (0.25, 0.25)


def test_what_is_kept_is_bounded():
    meter = Meter()
    for number in range(3 * MOST_RECENT):
        meter.took(number / 1e6, 0.5)
    assert len(meter.recent) == MOST_RECENT


def test_means_follow_what_is_new():
    meter = Meter()
    meter.batch(4, 0.2)
    assert (meter.batch_s, meter.rate, meter.answered) == (0.2, pytest.approx(20), 4)
    for _ in range(50):
        meter.batch(1, 0.1)
    assert meter.batch_s == pytest.approx(0.1, rel=0.01)
    meter.asked(1, 5.0)
    meter.came(1, 5.5)
    assert meter.start_s == pytest.approx(0.15 + 0.35 / 5)
    meter.came(1, 9.0)
    assert meter.start_s == pytest.approx(0.22)
