"""The time-outs that follow from one number fit together, whatever the number is."""

from hypothesis import given
from hypothesis import strategies as st

from pliant.timeouts import Timeouts


@given(st.floats(0.1, 3600.0))
def test_they_fit_together(patience_s):
    times = Timeouts(patience_s)
    assert times.beat_s + times.ping_s + 2 * times.pong_s < times.silent_s, "a dead connection is replaced in time"
    assert times.probe_s + 2 * times.probe_every_s < times.silent_s, "two looks at a process before it is given up"
    assert times.silent_s < times.hang_s < times.busy_s
    assert times.handshake_s <= times.form_s
    assert times.hang_s + times.form_s < times.orphan_s, "nobody gives up while others are being found"


@given(st.floats(8.0, 3600.0))
def test_dead_links_are_found_within_the_patience(patience_s):
    assert Timeouts(patience_s).link_s <= patience_s


def test_the_summary_tells_the_worst_cases():
    assert Timeouts(10.0).summary() == (
        "patience 10 s: a crash is seen at once, a hang after at most 12.5 s, "
        "a dead link between workers after at most 8 s"
    )
