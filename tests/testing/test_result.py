import pytest

from pliant.testing.result import Result, assert_same_weights
from pliant.wire.api import Event, Report


def result(weights, losses, *, events=(), exit_code=0):
    report = Report(
        name="job",
        state="finished",
        script="train.py",
        steps=len(losses),
        samples=0,
        wall_s=1.0,
        median_step_s=0.1,
        goodput=1.0,
        final_loss=None,
        weights_sha256=weights,
        events=list(events),
        commit_times_s=[],
        losses=losses,
        workers_over_time=[],
    )
    return Result(exit_code, "", "", report)


def event(kind, step):
    return Event(1, 0.0, "job", kind, step, f"something in step {step}")


def test_same_weights_pass():
    assert_same_weights(result("aa", [1.0, 0.5]), result("aa", [1.0, 0.5]))


def test_the_first_step_that_differs_is_named_and_what_came_before_it():
    mine = result("bb", [1.0, None, 0.4], events=[event("workers_joined", 1), event("worker_lost", 2)])
    with pytest.raises(AssertionError, match=r"step 2 is the first that differs: 0\.4, undisturbed 0\.3") as caught:
        assert_same_weights(mine, result("aa", [1.0, 0.5, 0.3]))
    assert "worker_lost at step 2" in str(caught.value)


def test_other_numbers_of_steps_are_told():
    with pytest.raises(AssertionError, match="the same number of steps"):
        assert_same_weights(result("bb", [1.0]), result("aa", [1.0, 0.5]))


def test_a_difference_that_no_loss_shows_is_told():
    with pytest.raises(AssertionError, match="all losses are equal"):
        assert_same_weights(result("bb", [1.0]), result("aa", [1.0]))


@pytest.mark.parametrize("lost", [result(None, [1.0], exit_code=4), Result(4, "", "", None)])
def test_a_job_without_weights_never_passes(lost):
    with pytest.raises(AssertionError, match="did not come to an end"):
        assert_same_weights(lost, lost)
    with pytest.raises(AssertionError, match="exit code 4"):
        assert_same_weights(lost, result("aa", [1.0]))
