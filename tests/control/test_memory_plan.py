from hypothesis import given
from hypothesis import strategies as st

from pliant.control.memory_plan import CALM_STEPS, MOST_IN_A_ROW, Fewer, GiveUp, MemoryPlan


def die(plan, worker, step, left=("w1", "w2"), minimum=1):
    return plan.died(worker, step=step, left=left, minimum=minimum)


def test_three_in_a_row_with_progress_lower_the_number():
    plan = MemoryPlan()
    assert die(plan, "w3", 10) is None
    assert die(plan, "w4", 15) is None
    verdict = die(plan, "w5", 20)
    assert verdict == Fewer(2, verdict.why)
    assert "w3, w4, w5" in verdict.why
    assert "10 and 20" in verdict.why


def test_three_at_one_step_end_the_job():
    plan = MemoryPlan()
    for worker in ("w3", "w4"):
        assert die(plan, worker, 7) is None
    verdict = die(plan, "w5", 7)
    assert isinstance(verdict, GiveUp)
    assert "all at step 7" in verdict.why


def test_too_few_left_end_the_job():
    plan = MemoryPlan()
    die(plan, "w3", 7, minimum=3)
    die(plan, "w4", 8, minimum=3)
    assert isinstance(die(plan, "w5", 9, minimum=3), GiveUp)


def test_a_calm_time_or_a_users_word_begins_the_count_anew():
    plan = MemoryPlan()
    die(plan, "w3", 0)
    die(plan, "w4", 1)
    assert die(plan, "w5", 2 + CALM_STEPS) is None
    die(plan, "w6", 2 + CALM_STEPS)
    plan.asked_for_more()
    assert die(plan, "w7", 2 + CALM_STEPS) is None


@given(st.lists(st.integers(0, 3 * CALM_STEPS), max_size=40), st.integers(1, 4), st.integers(0, 4))
def test_never_more_than_three_unanswered_nor_below_the_minimum(gaps, minimum, left):
    plan, step, unanswered = MemoryPlan(), 0, 0
    for number, gap in enumerate(gaps):
        step += gap
        verdict = die(plan, f"w{number}", step, left=["w"] * left, minimum=minimum)
        unanswered = 0 if verdict or gap > CALM_STEPS else unanswered + 1
        assert unanswered < MOST_IN_A_ROW
        if isinstance(verdict, Fewer):
            assert minimum <= verdict.workers == left
