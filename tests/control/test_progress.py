import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.control.progress import Progress, median_gap_s
from pliant.errors import ProtocolError
from pliant.wire.messages import StepsCommitted


def commits(first, times, *, losses=None, epoch=0, samples=0, staleness=None):
    return StepsCommitted(first, times, losses or [1.0] * len(times), epoch, samples, staleness or {})


def test_in_order():
    progress = Progress()
    progress.begin(9.0)
    assert progress.add(commits(0, [10.0, 11.0], losses=[3.0, 2.0], samples=20)) == 2
    assert progress.add(commits(2, [12.0], losses=[None], epoch=1, samples=30)) == 1
    assert (progress.step, progress.loss, progress.epoch, progress.samples) == (3, 2.0, 1, 30)
    assert progress.steps_per_s() == pytest.approx(1.0)


def test_repeated_and_overlapping_reports_count_once():
    progress = Progress()
    progress.add(commits(0, [1.0, 2.0, 3.0], samples=30))
    assert progress.add(commits(0, [1.0, 2.0, 3.0], samples=30)) == 0
    assert progress.add(commits(1, [2.0, 3.0, 4.0], losses=[7, 8, 9], samples=40)) == 1
    assert progress.add(commits(0, [1.0], epoch=5, samples=99)) == 0
    assert progress.times_s == [1.0, 2.0, 3.0, 4.0]
    assert progress.losses == [1.0, 1.0, 1.0, 9]
    assert (progress.samples, progress.epoch) == (40, 0)


def test_a_hole_keeps_the_length_of_the_stall_after_it():
    progress = Progress()
    progress.add(commits(0, [1.0, 2.0, 3.0]))
    progress.add(commits(5, [9.0]))
    assert progress.times_s == [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]
    assert progress.losses == [1.0, 1.0, 1.0, None, None, 1.0]


def test_times_never_run_backwards():
    progress = Progress()
    progress.begin(5.0)
    progress.add(commits(0, [4.0, 6.0, 5.5]))
    assert progress.times_s == [5.0, 6.0, 6.0]


def test_the_end_fills_what_nobody_reported():
    progress = Progress()
    progress.add(commits(0, [1.0, 2.0]))
    progress.finish(steps=4, samples=64, now_s=2.5)
    assert progress.times_s == [1.0, 2.0, 2.5, 2.5]
    progress.finish(steps=3, samples=10, now_s=9.0)
    progress.finish(steps=10**12, samples=10, now_s=9.0)
    assert (progress.step, progress.samples) == (4, 64)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (StepsCommitted(0, [1.0], [], 0, 0), "1 times but 0 losses"),
        (commits(-1, [1.0]), "negative"),
        (commits(0, [1.0], epoch=-1), "negative"),
        (commits(10**9, [1.0]), "step 1000000000"),
        (commits(0, [float("inf")]), "finite"),
        (commits(0, [1.0], staleness={-1: 2}), "negative staleness"),
        (commits(0, [1.0], staleness={1: -2}), "negative number of pushes"),
    ],
)
def test_contradictions_change_nothing(message, word):
    progress = Progress()
    with pytest.raises(ProtocolError, match=word):
        progress.add(message)
    assert (progress.step, progress.pushes) == (0, {})


def test_the_newest_pushes_are_kept():
    progress = Progress()
    assert progress.mean_staleness() is None
    progress.add(commits(0, [1.0], staleness={0: 3, 2: 1}))
    progress.add(commits(1, [2.0], staleness={0: 4, 2: 4}))
    progress.add(commits(0, [1.0], staleness={0: 3, 2: 1}))
    assert (progress.pushes, progress.mean_staleness()) == ({0: 4, 2: 4}, 1.0)
    progress.add(commits(2, [3.0]))
    assert progress.pushes == {0: 4, 2: 4}, "a worker that knows of none says nothing"


def test_pushes_stay_known_when_the_job_goes_back_to_a_checkpoint():
    progress = Progress()
    progress.add(commits(0, [1.0, 2.0, 3.0], staleness={0: 6, 1: 6}))
    progress.rewind(1, epoch=0, samples=8, loss=None)
    assert progress.pushes == {0: 6, 1: 6}
    progress.add(commits(1, [4.0], staleness={0: 4, 1: 4}))
    assert progress.pushes == {0: 6, 1: 6}
    progress.add(commits(2, [5.0, 6.0], staleness={0: 8, 1: 8}))
    assert progress.pushes == {0: 8, 1: 8}


@given(st.lists(st.tuples(st.integers(0, 30), st.lists(st.floats(0, 100), max_size=5)), max_size=20))
def test_any_history_stays_consistent(history):
    progress = Progress()
    for first, times in history:
        before = progress.step
        assert progress.add(commits(first, times)) == progress.step - before
        assert progress.step == (max(before, first + len(times)) if times else before)
    assert len(progress.losses) == progress.step
    assert progress.times_s == sorted(progress.times_s)


def test_median_gap():
    assert median_gap_s([]) == median_gap_s([5.0]) == 0.0
    assert median_gap_s([0.0, 1.0, 3.0, 13.0]) == 2.0
