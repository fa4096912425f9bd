"""One test for each rule of the membership decider."""

from __future__ import annotations

import pytest
from membership_driver import Driver, brief

from pliant.errors import ConfigError
from pliant.ids import WorkerId
from pliant.membership import events as ev
from pliant.membership.accusation_plan import MAX_DEATHLESS_BREAKS
from pliant.membership.state import MAX_BROKEN_GENERATIONS, JobMembership

# ---------------------------------------------------------------- founding


def test_begin_starts_the_founding_workers():
    assert brief(Driver(start=3).said) == [("start", "w1"), ("start", "w2"), ("start", "w3")]


def test_founding_waits_for_start_workers_and_ranks_by_age():
    driver = Driver(start=2)
    assert driver.ready("w2") == []
    said = driver.ready("w1")
    assert brief(said) == [("founding", 1, "w1 w2")]
    assert said[0].members[1] == ev.Place(WorkerId("w2"), 1, "127.0.0.1", 7002)
    assert driver.job.state_of(WorkerId("w1")) == "joining"
    driver.enter(1, "w1", "w2")
    assert driver.job.state_of(WorkerId("w1")) == "training"
    assert (driver.job.generation, driver.job.members, driver.job.shards) == (1, ("w1", "w2"), 8)


def test_readied_before_connected_is_as_good():
    driver = Driver(start=1)
    assert driver.hear(ev.WorkerReadied(WorkerId("w1"), 8)) == []
    said = driver.hear(ev.WorkerConnected(WorkerId("w1"), "h", 1))
    assert brief(said) == [("founding", 1, "w1")]


def test_a_worker_lost_before_the_founding_is_replaced_under_a_new_id():
    driver = Driver(start=2)
    driver.ready("w1")
    assert brief(driver.gone("w2")) == [("start", "w3")]
    assert brief(driver.ready("w3")) == [("founding", 1, "w1 w3")]


def test_three_early_deaths_in_a_row_end_the_job():
    driver = Driver(start=1)
    driver.gone("w1", "w2")
    said = driver.gone("w3")
    assert brief(said) == [("end", "failed-lost")]
    assert "w1, w2, w3" in said[0].reason
    assert "w3.log" in said[0].reason
    assert driver.job.outcome == "failed-lost"


def test_a_ready_worker_in_between_resets_the_count_of_early_deaths():
    driver = Driver(start=2)
    driver.gone("w1", "w2")
    driver.ready("w3")
    driver.gone("w4", "w5")
    assert driver.job.outcome is None


def test_early_deaths_after_the_founding_only_halt_starting():
    driver = Driver.founded(1)
    driver.scale(2)
    assert brief(driver.gone("w2", "w3", "w4")) == [("start", "w3"), ("start", "w4")]
    assert driver.job.starting_halted
    assert driver.job.outcome is None
    assert brief(driver.scale(2)) == [("start", "w5")]


def test_more_workers_than_shards_is_refused_before_the_founding():
    driver = Driver(start=3, shards=2)
    said = driver.ready("w1")
    assert brief(said) == [("end", "failed-config")]
    assert "hold no shard" in said[0].reason
    assert "3 workers" in said[0].reason


def test_the_target_counts_against_the_shards_too():
    driver = Driver(start=1, target=9, shards=8)
    assert brief(driver.ready("w1")) == [("end", "failed-config")]


def test_a_target_above_start_is_reached_after_the_founding():
    driver = Driver(start=1, target=2)
    assert brief(driver.ready("w1")) == [("founding", 1, "w1")]
    assert brief(driver.enter(1, "w1")) == [("start", "w2")]


def test_founding_interrupted_before_anyone_is_stateful_is_a_founding_again():
    driver = Driver(start=2)
    driver.ready("w1", "w2")
    assert brief(driver.gone("w1")) == [("interrupt", 1, "w2"), ("start", "w3")]
    assert brief(driver.answer(1, stateful=False, who=("w2",))) == []
    assert brief(driver.ready("w3")) == [("founding", 2, "w2 w3")]


def test_founding_interrupted_with_a_stateful_member_is_a_recovery():
    driver = Driver(start=3)
    driver.ready("w1", "w2", "w3")
    driver.gone("w1")
    driver.answer(1, stateful=False, who=("w3",))
    assert brief(driver.answer(1, stateful=True, who=("w2",))) == [("recovery", 2, "w2")]
    assert brief(driver.enter(2, "w2")) == [("planned", 3, "w2 w3")]


# ---------------------------------------------------------------- target


def test_grow_starts_processes_and_admits_those_that_are_ready():
    driver = Driver.founded(1)
    assert brief(driver.scale(3)) == [("start", "w2"), ("start", "w3")]
    assert brief(driver.ready("w2")) == [("planned", 2, "w1 w2")]
    assert brief(driver.ready("w3")) == []  # one announcement at a time
    driver.enter(2, "w2")
    assert brief(driver.enter(2, "w1")) == [("planned", 3, "w1 w2 w3")]


def test_shrink_lets_the_newest_leave_at_a_boundary_and_retires_them_after_it():
    driver = Driver.founded(3)
    said = driver.scale(1)
    assert brief(said) == [("planned", 2, "w1")]
    assert set(said[0].to) == {"w1", "w2", "w3"}
    assert driver.job.state_of(WorkerId("w3")) == "leaving"
    assert brief(driver.enter(2, "w1")) == [("retire", "w2"), ("retire", "w3")]
    assert driver.gone("w3", "w2") == []


def test_shrink_retires_workers_that_are_not_members_directly():
    driver = Driver.founded(1)
    driver.scale(3)
    driver.hear(ev.WorkerConnected(WorkerId("w2"), "h", 1))
    assert brief(driver.scale(1)) == [("retire", "w3"), ("retire", "w2")]


def test_a_target_raised_again_keeps_those_that_were_not_yet_left_out():
    driver = Driver.founded(2)
    driver.scale(3)
    driver.ready("w3")
    driver.scale(1)  # while generation 2 (w1 w2 w3) is announced
    driver.scale(3)
    assert brief(driver.enter(2, "w1", "w2", "w3")) == []


def test_a_target_out_of_bounds_is_refused_and_changes_nothing():
    driver = Driver.founded(2, minimum=2)
    for target in (1, 9):
        with pytest.raises(ConfigError, match=str(target)):
            driver.job.handle(ev.TargetChanged(target))
    assert driver.job.target == 2


def test_minimum_above_start_is_refused():
    with pytest.raises(ConfigError, match="minimum is 3"):
        JobMembership(start=2, minimum=3)


# ---------------------------------------------------------------- leaving


def test_leaving_lowers_the_target_and_costs_no_interruption():
    driver = Driver.founded(3)
    assert brief(driver.leave("w1")) == [("planned", 2, "w2 w3")]
    assert driver.job.target == 2
    assert driver.leave("w1") == []
    assert brief(driver.enter(2, "w2", "w3")) == [("retire", "w1")]


def test_leaving_below_the_minimum_waits_for_a_replacement_that_has_entered():
    driver = Driver.founded(2, minimum=2)
    assert brief(driver.leave("w1")) == [("start", "w3")]
    assert driver.job.target == 2
    assert brief(driver.ready("w3")) == [("planned", 2, "w1 w2 w3")]
    assert brief(driver.enter(2, "w1", "w2", "w3")) == [("planned", 3, "w2 w3")]
    assert brief(driver.enter(3, "w2", "w3")) == [("retire", "w1")]


def test_a_leaver_does_not_wait_for_newcomers_that_are_still_starting():
    driver = Driver.founded(2)
    driver.scale(4)
    driver.hear(ev.WorkerConnected(WorkerId("w3"), "h", 1))
    assert ("planned", 2, "w2") in brief(driver.leave("w1"))


def test_a_leaver_that_dies_before_anybody_entered_is_a_crash():
    driver = Driver.founded(3)
    driver.leave("w1")
    assert brief(driver.gone("w1")) == [("interrupt", 2, "w2 w3")]
    assert brief(driver.answer(2, entered=1, who=("w2", "w3"))) == [("recovery", 3, "w2 w3")]


def test_a_leaver_that_dies_after_somebody_entered_is_none():
    driver = Driver.founded(3)
    driver.leave("w1")
    driver.enter(2, "w2")
    assert driver.gone("w1") == []
    assert driver.enter(2, "w3") == []


def test_a_leaver_is_behind_once_a_live_worker_has_entered_the_next_generation():
    driver = Driver.founded(3)
    driver.leave("w1")
    driver.gone("w3")
    driver.answer(2, entered=1, who=("w1",))
    # w2 went on without w1: whatever w1 holds is outdated.
    assert brief(driver.answer(2, entered=2, who=("w2",))) == [("retire", "w1"), ("recovery", 3, "w2")]


def test_a_leaver_carries_the_job_on_when_nobody_has_entered():
    driver = Driver.founded(2)
    driver.leave("w1")
    assert brief(driver.gone("w2")) == [("interrupt", 2, "w1"), ("start", "w3")]
    assert brief(driver.answer(2, entered=1, who=("w1",))) == [("recovery", 3, "w1")]


# ---------------------------------------------------------------- crashes


def test_a_crash_interrupts_the_others_and_starts_a_replacement():
    driver = Driver.founded(3)
    assert brief(driver.gone("w1")) == [("interrupt", 1, "w2 w3"), ("start", "w4")]
    assert driver.job.awaited == {"w2", "w3"}
    assert driver.job.state_of(WorkerId("w2")) == "interrupted"
    assert driver.answer(1, who=("w3",)) == []
    assert brief(driver.answer(1, who=("w2",))) == [("recovery", 2, "w2 w3")]
    assert driver.ready("w4") == []
    assert brief(driver.enter(2, "w2", "w3")) == [("planned", 3, "w2 w3 w4")]


def test_who_dies_while_answers_are_awaited_need_not_answer():
    driver = Driver.founded(3)
    driver.gone("w1")
    driver.answer(1, who=("w2",))
    assert brief(driver.gone("w3")) == [("recovery", 2, "w2"), ("start", "w5")]


def test_a_crash_between_announcement_and_switch_interrupts_both_generations():
    driver = Driver.founded(2)
    driver.scale(3)
    driver.ready("w3")
    assert brief(driver.gone("w1")) == [("interrupt", 2, "w2 w3"), ("start", "w4")]
    driver.answer(2, stateful=False, who=("w3",))
    assert brief(driver.answer(2, entered=1, who=("w2",))) == [("recovery", 3, "w2")]
    assert brief(driver.enter(3, "w2")) == [("planned", 4, "w2 w3")]


def test_a_newcomer_that_got_the_state_unnoticed_carries_it_on():
    driver = Driver.founded(1)
    driver.scale(2)
    driver.ready("w2")
    driver.gone("w1")
    assert brief(driver.answer(2, entered=2, who=("w2",))) == [("recovery", 3, "w2")]


def test_a_newcomer_dying_before_the_switch_disturbs_nobody():
    driver = Driver.founded(2)
    driver.scale(3)
    driver.ready("w3")
    assert brief(driver.gone("w3")) == [("start", "w4")]
    assert driver.broke(2, "w2", unused=True) == []
    assert driver.broke(2, "w1", unused=True) == []
    assert brief(driver.ready("w4")) == [("planned", 3, "w1 w2 w4")]
    assert not any(isinstance(decision, ev.InterruptGeneration) for decision in driver.said)


def test_a_newcomer_dying_after_the_switch_is_a_crash():
    driver = Driver.founded(2)
    driver.scale(3)
    driver.ready("w3")
    driver.enter(2, "w2")
    assert brief(driver.gone("w3")) == [("interrupt", 2, "w1 w2"), ("start", "w4")]
    assert brief(driver.answer(2, entered=2, who=("w1", "w2"))) == [("recovery", 3, "w1 w2")]


def test_a_newcomer_found_dead_by_a_member_that_switched_is_a_crash():
    driver = Driver.founded(2)
    driver.scale(3)
    driver.ready("w3")
    driver.gone("w3")
    assert brief(driver.broke(2, "w1")) == [("interrupt", 2, "w1 w2")]


def test_a_newcomer_that_cannot_be_reached_three_times_is_retired():
    driver = Driver.founded(1)
    driver.scale(2)
    driver.ready("w2")
    assert brief(driver.broke(2, "w1", unused=True)) == [("planned", 3, "w1 w2")]
    assert brief(driver.broke(3, "w1", unused=True)) == [("planned", 4, "w1 w2")]
    said = brief(driver.broke(4, "w1", unused=True))
    assert ("retire", "w2") in said
    assert ("start", "w3") in said


def test_a_broken_group_without_a_death_is_formed_again_with_everybody():
    driver = Driver.founded(2)
    assert brief(driver.broke(1, "w1")) == [("interrupt", 1, "w1 w2")]
    assert driver.broke(1, "w2") == []
    assert brief(driver.answer(1, who=("w1", "w2"))) == [("recovery", 2, "w1 w2")]


def test_a_recovery_that_breaks_again_without_a_death_expels_the_most_accused():
    driver = Driver.founded(4)
    driver.broke(1, "w2", peer="w1")
    assert brief(driver.answer(1, who=("w1", "w2", "w3", "w4"))) == [("recovery", 2, "w1 w2 w3 w4")]
    driver.broke(2, "w2", peer="w1")
    said = driver.answer(2, who=("w1", "w2", "w3", "w4"), missing={"w1": "w2", "w3": "w2"})
    assert brief(said) == [("expel", "w2"), ("recovery", 3, "w1 w3 w4"), ("start", "w5")]
    assert "cannot reach it, in generation 2" in said[0].reason
    assert driver.job.state_of(WorkerId("w2")) == "retired"
    assert driver.gone("w2") == [], "its exit disturbs nobody"


def test_of_two_that_accuse_each_other_the_younger_goes():
    driver = Driver.founded(2)
    for generation in (1, 2):
        driver.broke(generation, "w2", peer="w1")
        driver.broke(generation, "w1", peer="w2")
        said = driver.answer(generation, who=("w1", "w2"))
    assert brief(said) == [("expel", "w2"), ("recovery", 3, "w1"), ("start", "w3")]


def test_a_peer_that_closed_its_end_is_to_blame_only_if_nothing_better_is_known():
    driver = Driver.founded(3)
    for generation in (1, 2):
        driver.broke(generation, "w1", peer="w3", closed=True)
        driver.broke(generation, "w2", peer="w3", closed=True)
        said = driver.answer(generation, who=("w1", "w2", "w3"), missing={"w3": "w1"})
    assert brief(said)[0] == ("expel", "w1")


def test_a_death_explains_a_break():
    driver = Driver.founded(4)
    driver.broke(1, "w1", peer="w2")
    driver.answer(1, who=("w1", "w2", "w3", "w4"))
    driver.broke(2, "w1", peer="w4")
    driver.gone("w4")
    assert brief(driver.answer(2, who=("w1", "w2", "w3")))[0] == ("recovery", 3, "w1 w2 w3")
    driver.broke(3, "w1", peer="w2")
    assert brief(driver.answer(3, who=("w1", "w2", "w3")))[0] == ("recovery", 4, "w1 w2 w3"), "counted anew"


def test_founders_that_cannot_reach_each_other_do_not_try_for_ever():
    driver = Driver(start=2)
    driver.ready("w1", "w2")
    driver.broke(1, "w2", peer="w1")
    assert brief(driver.answer(1, stateful=False, who=("w1", "w2"))) == [("founding", 2, "w1 w2")]
    driver.broke(2, "w2", peer="w1")
    said = driver.answer(2, stateful=False, who=("w1", "w2"), missing={"w1": "w2"})
    assert brief(said) == [("expel", "w2"), ("start", "w3")]
    assert brief(driver.ready("w3")) == [("founding", 3, "w1 w3")]


def test_a_founding_that_always_breaks_ends_the_job():
    driver = Driver(start=2)
    driver.ready("w1", "w2")
    for _ in range(MAX_BROKEN_GENERATIONS):
        assert driver.job.outcome is None
        generation = driver.job.generation
        driver.broke(generation, "w1")
        driver.answer(generation, stateful=False, who=("w1", "w2"))
    assert driver.job.outcome == "failed-lost"


def test_links_that_break_under_load_again_and_again_expel_one():
    """Every generation is entered by all, and breaks then."""
    driver = Driver.founded(3)
    for generation in range(1, MAX_DEATHLESS_BREAKS + 1):
        driver.broke(generation, "w1", peer="w3", closed=True)
        said = driver.answer(generation, who=("w1", "w2", "w3"))
        driver.enter(generation + 1, "w1", "w2", "w3")
        assert brief(said)[0][0] == ("expel" if generation == MAX_DEATHLESS_BREAKS else "recovery")


def test_a_planned_change_that_went_well_ends_the_count():
    driver = Driver.founded(2)
    driver.broke(1, "w1", peer="w2")
    driver.answer(1, who=("w1", "w2"))
    driver.enter(2, "w1", "w2")
    driver.scale(3)
    driver.ready("w3")
    driver.enter(3, "w1", "w2", "w3")
    driver.broke(3, "w1", peer="w2")
    assert brief(driver.answer(3, who=("w1", "w2", "w3")))[0] == ("recovery", 4, "w1 w2 w3")


def test_the_state_is_looked_for_when_the_last_worker_that_holds_it_is_gone():
    driver = Driver.founded(1)
    driver.scale(2)
    driver.ready("w2")
    assert brief(driver.gone("w1")) == [("interrupt", 2, "w2"), ("start", "w3")]
    # w2 has run to where the job was, which is not where the checkpoint is; w3 may have: both are sent home.
    said = driver.answer(2, stateful=False, who=("w2",))
    assert brief(said) == [("retire", "w2"), ("retire", "w3"), ("find",)]
    assert "generation 1 was w1" in said[2].lost
    assert driver.gone("w2", "w3") == []
    assert driver.scale(3) == []
    # At first as many as at the beginning, then as many as are wanted; numbers and ids go on.
    assert brief(driver.hear(ev.StateFound())) == [("start", "w4")]
    assert brief(driver.ready("w4")) == [("founding", 3, "w4")]
    assert brief(driver.enter(3, "w4")) == [("start", "w5"), ("start", "w6")]


def test_the_job_is_lost_if_there_is_no_state_to_be_found():
    driver = Driver.founded(2)
    driver.gone("w1")
    assert brief(driver.gone("w2"))[-1] == ("find",)
    said = driver.hear(ev.StateMissing("no checkpoint"))
    assert brief(said) == [("end", "failed-lost")]
    assert said[0].reason == "no checkpoint"


def test_a_stop_while_the_state_is_looked_for():
    driver = Driver.founded(1)
    assert brief(driver.gone("w1")) == [("find",)]
    assert brief(driver.hear(ev.StopAsked())) == [("end", "stopped")]
    assert driver.hear(ev.StateFound()) == []


def test_a_job_that_begins_from_a_checkpoint_finds_it_first():
    driver = Driver(start=2, resume=True)
    assert brief(driver.said) == [("find",)]
    assert brief(driver.hear(ev.StateFound())) == [("start", "w1"), ("start", "w2")]
    assert driver.hear(ev.StateFound()) == []
    assert brief(driver.ready("w1", "w2")) == [("founding", 1, "w1 w2")]


def test_a_founder_that_dies_before_it_has_begun_from_the_checkpoint_is_replaced():
    driver = Driver(start=2, resume=True)
    driver.hear(ev.StateFound())
    driver.ready("w1", "w2")
    assert brief(driver.gone("w1")) == [("interrupt", 1, "w2"), ("start", "w3")]
    assert driver.answer(1, stateful=False, who=("w2",)) == []
    assert brief(driver.ready("w3")) == [("founding", 2, "w2 w3")]


def test_generations_that_always_break_end_the_job():
    driver = Driver.founded(1)
    driver.broke(1, "w1")
    driver.answer(1, who=("w1",))
    for _ in range(MAX_BROKEN_GENERATIONS - 1):
        generation = driver.job.generation
        driver.broke(generation, "w1")
        driver.answer(generation, who=("w1",))
    assert driver.job.outcome is None
    driver.broke(driver.job.generation, "w1")
    assert brief(driver.answer(driver.job.generation, who=("w1",))) == [("end", "failed-lost")]


# ---------------------------------------------------------------- stopping and ending


def test_stop_asks_members_and_retires_the_others():
    driver = Driver.founded(2)
    driver.scale(3)
    assert brief(driver.hear(ev.StopAsked())) == [("stop", "w1 w2"), ("retire", "w3")]
    assert driver.hear(ev.StopAsked()) == []
    driver.ended("w1")
    assert brief(driver.ended("w2")) == [("retire", "w2"), ("end", "stopped")]


def test_stop_before_the_founding_ends_at_once():
    driver = Driver(start=2)
    said = brief(driver.hear(ev.StopAsked()))
    assert said[-1] == ("end", "stopped")


def test_stop_survives_a_crash():
    driver = Driver.founded(2)
    driver.hear(ev.StopAsked())
    assert brief(driver.gone("w1")) == [("interrupt", 1, "w2")]
    assert brief(driver.answer(1, who=("w2",))) == [("recovery", 2, "w2")]
    driver.enter(2, "w2")
    assert brief(driver.ended("w2"))[-1] == ("end", "stopped")


def test_stop_when_all_are_gone_ends_stopped():
    driver = Driver.founded(1)
    driver.hear(ev.StopAsked())
    assert brief(driver.gone("w1")) == [("end", "stopped")]


def test_the_job_finishes_when_all_members_have_ended():
    driver = Driver.founded(2)
    assert brief(driver.ended("w1")) == [("retire", "w1")]
    assert driver.gone("w1") == []
    assert brief(driver.ended("w2")) == [("retire", "w2"), ("end", "finished")]
    assert driver.job.state_of(WorkerId("w2")) == "ended"


def test_after_the_first_end_nobody_is_started_admitted_or_interrupted():
    driver = Driver.founded(3)
    driver.ended("w1")
    assert driver.scale(4) == []
    assert driver.gone("w2") == []
    assert brief(driver.ended("w3"))[-1] == ("end", "finished")


def test_after_the_first_end_a_death_of_the_last_other_finishes():
    driver = Driver.founded(2)
    driver.ended("w1")
    assert brief(driver.gone("w2")) == [("end", "finished")]


def test_after_the_first_end_a_broken_group_is_helped_to_its_end():
    driver = Driver.founded(3)
    driver.ended("w1")
    driver.gone("w2")
    assert brief(driver.broke(1, "w3")) == [("interrupt", 1, "w3")]
    assert brief(driver.answer(1, entered=1, who=("w3",))) == [("recovery", 2, "w3")]
    driver.enter(2, "w3")
    assert brief(driver.ended("w3"))[-1] == ("end", "finished")


def test_who_ends_without_entering_a_recovery_is_left_out_of_it():
    driver = Driver.founded(3)
    driver.gone("w1")
    driver.answer(1, entered=1, who=("w2", "w3"))
    # w2 was past its last pass when the interrupt came: it ends, and w3 waits for it in generation 2.
    assert brief(driver.ended("w2"))[:2] == [("retire", "w2"), ("interrupt", 2, "w3")]
    assert brief(driver.answer(2, entered=1, who=("w3",))) == [("recovery", 3, "w3")]


def test_a_raising_script_ends_the_job_at_once_and_once():
    driver = Driver.founded(2)
    assert brief(driver.hear(ev.WorkerScriptFailed(WorkerId("w2")))) == [("end", "failed-script")]
    assert driver.hear(ev.WorkerScriptFailed(WorkerId("w1"))) == []


def test_divergence_ends_the_job_at_once_and_once():
    driver = Driver.founded(2)
    assert brief(driver.hear(ev.WorkersDiverged(WorkerId("w2")))) == [("end", "failed-diverged")]
    assert driver.hear(ev.WorkersDiverged(WorkerId("w1"))) == []


def test_a_raising_script_counts_after_its_worker_is_gone():
    driver = Driver.founded(2)
    driver.gone("w2")
    assert brief(driver.hear(ev.WorkerScriptFailed(WorkerId("w2")))) == [("end", "failed-script")]


# ---------------------------------------------------------------- wrong and late messages


def test_an_unknown_or_retired_worker_is_retired():
    driver = Driver.founded(2)
    assert brief(driver.hear(ev.WorkerConnected(WorkerId("w9"), "h", 1))) == [("retire", "w9")]
    driver.scale(1)
    driver.enter(2, "w1")
    assert brief(driver.hear(ev.WorkerConnected(WorkerId("w2"), "h", 1))) == [("retire", "w2")]


def test_a_reconnect_updates_the_address_and_repeats_what_is_outstanding():
    driver = Driver.founded(2)
    again = ev.WorkerConnected(WorkerId("w1"), "other", 5)
    assert driver.hear(again) == []
    driver.scale(3)
    driver.ready("w3")
    said = driver.hear(again)
    assert brief(said) == [("planned", 2, "w1 w2 w3")]
    assert said[0].to == ("w1",)
    assert said[0].members[0].host == "other"
    driver.gone("w2")
    assert brief(driver.hear(again)) == [("interrupt", 2, "w1")]


def test_old_generation_numbers_change_nothing():
    driver = Driver.founded(2)
    driver.gone("w1")
    driver.answer(1, who=("w2",))
    driver.enter(2, "w2")
    assert driver.broke(1, "w2") == []
    assert driver.answer(1, stateful=False, who=("w2",)) == []
    assert driver.enter(1, "w2") == []
    assert driver.enter(7, "w2") == []
    assert driver.broke(7, "w2") == []


@pytest.mark.parametrize("worker", ["w3", "w99"])
def test_an_answer_of_a_worker_that_was_not_asked_changes_nothing(worker):
    driver = Driver.founded(2)
    driver.scale(3)
    driver.gone("w1")
    assert driver.answer(1, who=(worker,)) == []
    assert driver.job.awaited == {"w2"}


def test_hundreds_of_members_take_a_crash_in_stride():
    names = tuple(WorkerId(f"w{n}") for n in range(1, 401))
    job = JobMembership(start=400, minimum=1)
    job.begin()
    for worker in names:
        job.handle(ev.WorkerConnected(worker, "h", 1))
        job.handle(ev.WorkerReadied(worker, 2000))
    for worker in names:
        job.handle(ev.WorkerEntered(worker, job.generation))
    job.handle(ev.WorkerGone(names[200]))
    alive = [worker for worker in names if worker != names[200]]
    said = [d for w in alive for d in job.handle(ev.WorkerInterrupted(w, job.generation, True, job.generation))]
    assert len(said) == 1
    assert said[0].members[200].worker == "w202"
    said = [d for worker in alive for d in job.handle(ev.WorkerEntered(worker, job.generation))]
    assert said == []
    job.invariants()


def test_a_state_that_is_lost_elsewhere_sends_everybody_home_and_is_looked_for():
    driver = Driver.founded(2)
    driver.scale(3)
    said = driver.hear(ev.StateLost("servers are gone"))
    assert brief(said) == [("retire", "w1"), ("retire", "w2"), ("retire", "w3"), ("find",)]
    assert said[-1].lost == "servers are gone"
    assert driver.hear(ev.StateLost("again")) == []
    assert driver.gone("w1", "w2", "w3") == []
    assert brief(driver.hear(ev.StateFound())) == [("start", "w4"), ("start", "w5")]
    driver.ready("w4", "w5")
    assert driver.job.generation == 2


def test_a_state_that_is_lost_elsewhere_during_a_recovery():
    driver = Driver.founded(3)
    driver.gone("w2")
    assert brief(driver.hear(ev.StateLost("x"))) == [
        ("retire", "w1"),
        ("retire", "w3"),
        ("retire", "w4"),
        ("find",),
    ]
    assert driver.answer(1, who=("w1", "w3")) == []
    assert driver.job.awaited == frozenset()


def test_a_state_that_is_lost_before_anybody_has_it_or_when_all_is_done():
    assert Driver(2).hear(ev.StateLost("x")) == []
    driver = Driver.founded(2)
    driver.ended("w1")
    assert brief(driver.hear(ev.StateLost("x"))) == [("end", "finished")]
    driver = Driver.founded(2)
    driver.hear(ev.StopAsked())
    assert brief(driver.hear(ev.StateLost("x"))) == [("end", "stopped")]
