"""What a plan does: to whom, once, and when it goes on."""

from control_fakes import FakeTime, Play

from pliant.control.registry import Registry
from pliant.wire.agent_messages import SignalWorker
from pliant.wire.api import PlanEvent, SlowWorkers
from pliant.wire.messages import MilestonePassed, MilestoneReached, Misbehave


def trained_to(scene, step):
    """The main worker has come to this step."""
    scene.commit("w1", step - scene.job.progress.step)
    scene.say("w1", MilestoneReached(step))
    assert MilestonePassed(step) in scene.links["w1"].take(MilestonePassed)


def begun(play, *plan, workers=3, **options):
    scene = play(start_workers=workers, plan=list(plan), **options)
    scene.start_workers()
    scene.enter(step=0)
    return scene


def test_workers_are_slowed_down_and_told_again_when_they_come_back(play):
    scene = begun(
        play, PlanEvent(2, slow=SlowWorkers(2, 3.0)), PlanEvent(3, slow=SlowWorkers(1, 1.0)), PlanEvent(4, kill=1)
    )
    trained_to(scene, 2)
    assert [scene.links[worker].take(Misbehave) for worker in ("w1", "w2", "w3")] == [
        [],
        [Misbehave(slow=3.0)],
        [Misbehave(slow=3.0)],
    ]
    assert "slow = { workers = 2, factor = 3 } at step 2) slows down w3, w2" in scene.event("plan_signal").message
    trained_to(scene, 3)
    assert scene.links["w3"].take(Misbehave) == [Misbehave(slow=1.0)]
    assert scene.hello("w2", generation=1, stateful=True).take(Misbehave) == [Misbehave(slow=3.0)]
    assert scene.hello("w3", generation=1, stateful=True).take(Misbehave) == []
    trained_to(scene, 4)
    assert scene.agent.take(SignalWorker) == [SignalWorker("w3", 9)], "a slow worker does not hold up the plan"


def test_a_stopped_worker_holds_up_the_plan_until_it_is_replaced(play):
    scene = begun(play, PlanEvent(2, stop=1), PlanEvent(3, kill=1))
    trained_to(scene, 2)
    assert scene.agent.take(SignalWorker) == [SignalWorker("w3", 19)]
    trained_to(scene, 3)
    assert scene.agent.take(SignalWorker) == []
    scene.die("w3")
    scene.recover()
    scene.enter()
    assert scene.agent.take(SignalWorker) == []
    scene.start_workers()
    scene.enter()
    assert scene.agent.take(SignalWorker) == [SignalWorker("w4", 9)]


def test_events_of_one_step_take_different_workers(play):
    scene = begun(play, PlanEvent(2, stop=1), PlanEvent(2, partition=1), PlanEvent(2, kill=4))
    trained_to(scene, 2)
    assert scene.agent.take(SignalWorker) == [SignalWorker("w3", 19), SignalWorker("w1", 9)]
    assert scene.links["w2"].take(Misbehave) == [Misbehave(isolated=True)]
    messages = [event.message for event in scene.job.events() if event.kind == "plan_signal"]
    assert messages[1].endswith("(partition = 1 at step 2) cuts off from the network w2")
    assert messages[2].endswith("kills w1; only 1 were there")


def test_the_coordinator_is_killed_once_and_by_no_replay(journal):
    time, died = FakeTime(), []
    registry = Registry(journal, clock=time.clock(), die=lambda: died.append(1))
    plan = [PlanEvent(2, kill_coordinator=True), PlanEvent(3, kill=1)]
    scene = begun(lambda **spec: Play(journal, time=time, registry=registry, **spec), *plan)
    trained_to(scene, 2)
    assert died == [1]
    kept = [event.message for event in journal.events(scene.job.id) if event.kind == "plan_signal"]
    assert kept == ["the plan (kill_coordinator = true at step 2) kills the coordinator"], "written before"
    again = Registry(journal, clock=time.clock(), die=lambda: died.append(2))
    assert again.jobs["j"].schedule.unreached() == [PlanEvent(3, kill=1)]
    assert died == [1]
