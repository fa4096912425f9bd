from hypothesis import given
from hypothesis import strategies as st

from pliant.control.schedule_plan import Schedule, describe, victims
from pliant.wire.api import PlanEvent, SlowWorkers


def reached(schedule, step):
    schedule.reach(step)
    return schedule.due()


def test_each_thing_once_and_in_order():
    plan = [PlanEvent(9, leave=1), PlanEvent(4, scale=3), PlanEvent(4, kill=1)]
    schedule = Schedule(plan)
    assert schedule.milestones() == [4, 9]
    assert reached(schedule, 3) == []
    assert not schedule.waits
    schedule.reach(4)
    assert schedule.waits
    assert reached(schedule, 4) == [plan[1], plan[2]]
    assert not schedule.waits
    assert reached(schedule, 4) == []
    assert schedule.unreached() == [plan[0]]


def test_steps_that_were_jumped_over_come_one_after_the_other():
    plan = [PlanEvent(2, kill=1), PlanEvent(5, scale=1)]
    schedule = Schedule(plan)
    assert [reached(schedule, 7), schedule.due(), schedule.due()] == [[plan[0]], [plan[1]], []]


def test_a_step_once_reached_stays_reached():
    schedule = Schedule([PlanEvent(5, scale=2)])
    schedule.reach(6)
    assert reached(schedule, 1) == [PlanEvent(5, scale=2)]


@given(st.lists(st.integers(0, 20)), st.lists(st.integers(0, 25)))
def test_every_event_happens_exactly_once(at, asked):
    schedule = Schedule([PlanEvent(step, scale=number + 1) for number, step in enumerate(at)])
    happened = [event for step in asked for event in reached(schedule, step)]
    while rest := schedule.due():
        happened += rest
    assert len({event.scale for event in happened}) == len(happened)
    assert len(happened) + len(schedule.unreached()) == len(at)
    assert all(event.at_step > max(asked, default=-1) for event in schedule.unreached())


def test_highest_ranks_go_first():
    assert victims(["w1", "w5", "w3"], 2) == ["w3", "w5"]
    assert victims(["w1"], 3) == ["w1"]
    assert victims([], 1) == []


def test_description_is_that_of_the_file():
    assert describe(PlanEvent(20, scale=3)) == "scale = 3 at step 20"
    assert describe(PlanEvent(0, kill=1)) == "kill = 1 at step 0"
    assert describe(PlanEvent(3, stop=2)) == "stop = 2 at step 3"
    assert describe(PlanEvent(3, kill_coordinator=True)) == "kill_coordinator = true at step 3"
    assert describe(PlanEvent(3, slow=SlowWorkers(1, 2.5))) == "slow = { workers = 1, factor = 2.5 } at step 3"
