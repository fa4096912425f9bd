"""A plan that waits for newcomers: the main worker goes on only once nobody is on the way, a step at a time."""

from pliant.wire.agent_messages import SignalWorker
from pliant.wire.api import PlanEvent
from pliant.wire.messages import MilestonePassed, MilestoneReached, Welcome, WorkerLeaving


def passed(scene, worker="w1"):
    return scene.links[worker].take(MilestonePassed)


def test_the_main_worker_waits_for_newcomers_and_asks_again_until_they_are_in(play):
    scene = play(start_workers=2, patient_plan=True, plan=[PlanEvent(4, scale=3), PlanEvent(9, kill=1)])
    scene.start_workers()
    assert scene.links["w1"].take(Welcome)[0].rules.milestone_wait_s > 60
    scene.enter(step=0)
    scene.commit("w1", 4)
    scene.say("w1", MilestoneReached(4))
    assert passed(scene) == [], "w3 is on its way"
    scene.start_workers()
    assert passed(scene) == [MilestonePassed(4, again=True)], "w3 is ready, and comes in with a step"
    scene.commit("w1", 1)
    scene.say("w1", MilestoneReached(5))
    assert passed(scene) == [MilestonePassed(5, again=True)], "it is not in yet"
    scene.enter(step=6)
    scene.say("w1", MilestoneReached(6))
    assert passed(scene) == [MilestonePassed(6)]

    scene.commit("w1", 3)
    scene.say("w1", MilestoneReached(9))
    assert scene.agent.take(SignalWorker) == [SignalWorker("w3", 9)]
    assert passed(scene) == [], "w3 is not dead yet"
    scene.die("w3")
    assert passed(scene) == [], "its replacement is on its way"
    scene.start_workers()
    assert passed(scene) == [MilestonePassed(9, again=True)]
    scene.recover()
    while not scene.job.changes.settled or "w4" not in scene.job.membership.members:
        scene.enter(step=9)
    scene.say("w1", MilestoneReached(10))
    assert passed(scene) == [MilestonePassed(10)]


def test_a_worker_that_leaves_needs_steps_and_holds_up_nobody(play):
    scene = play(start_workers=2, patient_plan=True, plan=[PlanEvent(2, leave=1)])
    scene.start_workers()
    scene.enter(step=0)
    scene.say("w1", MilestoneReached(2))
    assert scene.agent.take(SignalWorker) == [SignalWorker("w2", 15)]
    assert passed(scene) == [MilestonePassed(2, again=True)]
    scene.say("w2", WorkerLeaving("SIGTERM"))
    scene.enter(step=3)
    scene.die("w2", 0)
    scene.say("w1", MilestoneReached(3))
    assert passed(scene) == [MilestonePassed(3)]


def test_a_plan_that_is_not_patient_waits_for_nobody(play):
    scene = play(start_workers=1, plan=[PlanEvent(4, scale=3)])
    scene.start_workers()
    assert scene.links["w1"].take(Welcome)[0].rules.milestone_wait_s == 5.0
    scene.enter(step=0)
    scene.say("w1", MilestoneReached(4))
    assert passed(scene) == [MilestonePassed(4)]


def test_the_workers_are_told_the_rules(play):
    scene = play(start_workers=1, check_every=7, trace="/somewhere", stop_after=30)
    scene.start_workers()
    rules = scene.links["w1"].take(Welcome)[0].rules
    assert (rules.check_every, rules.trace, rules.stop_after) == (7, "/somewhere", 30)
