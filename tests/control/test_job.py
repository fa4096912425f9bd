import pytest
from control_fakes import FakeLink, FakeTime

from pliant.control.inputs import AgentConnected, AgentDied, AgentDisconnected, WorkerConnected, WorkerDisconnected
from pliant.control.registry import Registry
from pliant.errors import CoordinatorError, ProtocolError
from pliant.wire.agent_messages import (
    AdoptWorker,
    AgentHello,
    SignalWorker,
    StartWorker,
    StopAgent,
    WorkerExited,
    WorkerStarted,
)
from pliant.wire.api import JobSpec, MisbehaveRequest, PlanEvent
from pliant.wire.messages import (
    CallEnded,
    FormGeneration,
    GenerationEntered,
    GenerationFailed,
    Interrupt,
    Interrupted,
    MilestonePassed,
    MilestoneReached,
    Misbehave,
    Retire,
    StepsCommitted,
    StopJob,
    Welcome,
    WorkerFailed,
    WorkerHello,
    WorkerLeaving,
    WorkerProgress,
    WorkerReady,
)


def running(play, workers, **spec):
    scene = play(start_workers=workers, **spec)
    scene.start_workers()
    scene.enter(step=0)
    return scene


def test_founding_and_finish(play):
    scene = play(start_workers=2)
    assert [m.worker for m in scene.agent.sent] == ["w1", "w2"]
    assert scene.job.state == "starting"
    scene.start_workers()
    assert all(link.take(Welcome)[0].founding for link in scene.links.values())
    assert [member.worker for member in scene.enter().members] == ["w1", "w2"]
    assert scene.job.state == "running"
    scene.commit("w1", 10)
    scene.say("w2", WorkerProgress(10, "training", [4, 5]))
    status = scene.job.status()
    assert (status.step, status.total_steps, status.samples, status.shards) == (10, 100, 640, 8)
    assert [(w.worker, w.pid, w.rank, w.state, w.shards, w.step) for w in status.workers] == [
        ("w1", 1001, 0, "training", [], 0),
        ("w2", 1002, 1, "training", [4, 5], 10),
    ]
    scene.finish("w1")
    scene.finish("w2")
    assert scene.agent.take(StopAgent)
    status, report = scene.job.status(), scene.job.report()
    assert (status.state, status.error, status.weights_sha256) == ("finished", None, "aa")
    assert (report.steps, report.samples, report.final_loss) == (10, 640, 0.25)
    assert report.median_step_s == pytest.approx(1.0)
    assert report.wall_s == pytest.approx(10.0)
    assert report.goodput == pytest.approx(1.0)
    assert report.workers_over_time == [(0.0, 2)]
    assert scene.kinds() == ["job_started", "generation_founded", "job_finished"]


def test_frozen_after_the_end(play):
    scene = running(play, 1)
    scene.commit("w1", 3)
    scene.finish("w1")
    before = scene.job.report()
    scene.say("w1", StepsCommitted(3, [9999.0], [1.0], 0, 64))
    scene.die("w1", 0)
    assert scene.job.report() == before
    scene.registry.stop("j", now=True)
    assert scene.job.status().state == "finished"


def test_different_weights_fail_the_job(play):
    scene = running(play, 2)
    scene.finish("w1", "aa11")
    scene.finish("w2", "bb22")
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "diverged")
    assert "different weights" in status.error
    assert "w1: aa11" in status.error
    assert "w2: bb22" in status.error


def test_divergence_ends_the_job_once_with_what_the_workers_found(play):
    scene = running(play, 2)
    scene.say("w2", WorkerFailed("the workers have diverged: x\nWhat to do: y", "", kind="diverged"))
    scene.say("w1", WorkerFailed("the workers have diverged: x\nWhat to do: y", "", kind="diverged"))
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "diverged")
    assert status.error == "the workers have diverged: x\nWhat to do: y"
    kinds = [event.kind for event in scene.job.events()]
    assert kinds.count("workers_diverged") == 1
    assert scene.job.events()[-1].message.endswith("the workers have diverged: x")
    assert scene.links["w1"].take(Retire)


def test_script_failure_shows_the_traceback_and_ends_all(play):
    scene = running(play, 2)
    scene.say("w2", WorkerFailed("ValueError: x", "Traceback ...\nValueError: x\n"))
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "script")
    assert status.error == "Traceback ...\nValueError: x"
    assert scene.links["w1"].take(Retire)
    assert scene.agent.take(StopAgent)
    assert "ValueError: x" in scene.event("job_failed").message
    assert not scene.agent.take(StartWorker)


def test_crash_costs_are_told(play):
    scene = running(play, 3)
    scene.commit("w1", 10)
    scene.time.now_s += 0.5
    scene.die("w2")
    lost = scene.event("worker_lost")
    assert (lost.workers_before, lost.workers_after, lost.stall_s) == (3, None, None)
    assert "SIGKILL" in lost.message
    assert "step 10" in lost.message
    scene.recover()
    scene.time.now_s += 2.5
    form = scene.enter(recomputed={"w1": [2], "w3": [3, 4]}, received=100)
    assert (form.kind, [m.worker for m in form.members]) == ("recovery", ["w1", "w3"])
    scene.commit("w1", 1)
    assert scene.event("worker_lost").stall_s is None  # one more commit belongs to it
    scene.commit("w1", 1)
    lost = scene.event("worker_lost")
    assert lost.workers_after == 2
    assert lost.shards_recomputed == 3
    assert lost.bytes_moved == 200
    assert lost.stall_s == pytest.approx(0.5 + 2.5 + 1.0 - 1.0)
    assert [m.worker for m in scene.agent.take(StartWorker)] == ["w4"]  # a replacement


def test_two_deaths_share_one_stall(play):
    scene = running(play, 3)
    scene.commit("w1", 5)
    scene.die("w1")
    scene.die("w3")
    scene.recover()
    scene.time.now_s += 3
    scene.enter()
    scene.commit("w2", 2)
    first, second = [event for event in scene.job.events() if event.kind == "worker_lost"]
    assert (first.workers_before, second.workers_before) == (3, 2)
    assert first.workers_after == second.workers_after == 1
    assert first.stall_s == second.stall_s == pytest.approx(3.0)


def test_a_newcomer_that_a_death_keeps_from_the_state_is_set_back_not_shrunk(play):
    scene = running(play, 2)
    scene.commit("w1", 5)
    scene.registry.scale("j", 3)
    scene.start_workers()
    form = next(iter(scene.links["w1"].take(FormGeneration)))
    # w1 and w2 have sent and go on; w3 is still receiving when w2 dies.
    scene.say("w1", GenerationEntered(form.generation, 6, [0]))
    assert scene.event("workers_joined").workers_after == 3
    scene.die("w2")
    for worker, entered in (("w1", form.generation), ("w3", 0)):
        (interrupt,) = scene.links[worker].take(Interrupt)
        scene.say(worker, Interrupted(interrupt.generation, stateful=worker == "w1", entered=entered))
    for link in scene.links.values():
        link.sent = [m for m in link.sent if not (isinstance(m, FormGeneration) and m.kind == "planned")]
    assert [member.worker for member in scene.enter().members] == ["w1"]
    set_back = scene.event("newcomers_set_back")
    assert set_back.message.startswith("w3 did not get the state in time")
    assert (set_back.workers_before, set_back.workers_after) == (2, 1)
    assert "workers_shrunk" not in scene.kinds()


def test_faults_on_purpose(play):
    scene = running(play, 2)
    scene.registry.misbehave("j", MisbehaveRequest("w2", slow=3, isolated=True))
    assert scene.links["w2"].take(Misbehave) == [Misbehave(slow=3, isolated=True)]
    assert not scene.links["w1"].take(Misbehave)
    assert scene.event("fault_requested").message.startswith("w2 is to be 3 times as slow and cut off from everybody")
    scene.die("w2")
    for asked, status, text in (
        (MisbehaveRequest("w9", slow=3), 404, "no worker 'w9'; there are: w1"),
        (MisbehaveRequest("w2", slow=3), 409, "w2 of job j has ended"),
        (MisbehaveRequest("w1"), 422, "nothing to do"),
        (MisbehaveRequest("w1", slow=0.5), 422, "slow = 0.5 is no factor"),
    ):
        with pytest.raises(CoordinatorError, match=text) as caught:
            scene.registry.misbehave("j", asked)
        assert caught.value.status == status
    assert scene.kinds().count("fault_requested") == 1


def test_all_lost(play):
    scene = running(play, 2)
    scene.commit("w1", 5)
    scene.die("w1")
    scene.die("w2")
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "lost")
    assert "step" in status.error or "state" in status.error
    assert [e.workers_after for e in scene.job.events() if e.kind == "worker_lost"] == [0, 0]


def test_grow_and_shrink(play):
    scene = running(play, 1)
    scene.commit("w1", 5)
    scene.registry.scale("j", 3)
    scene.start_workers()
    assert not scene.links["w2"].take(Welcome)[0].founding
    while scene.links["w1"].sent and any(isinstance(m, FormGeneration) for m in scene.links["w1"].sent):
        scene.enter(received=50)
    scene.commit("w1", 2)
    joined = [event for event in scene.job.events() if event.kind == "workers_joined"]
    assert joined[-1].workers_after == 3
    assert joined[0].workers_before == 1
    assert all(event.stall_s is not None and event.bytes_moved for event in joined)
    scene.registry.scale("j", 1)
    scene.enter()
    scene.commit("w1", 2)
    shrunk = scene.event("workers_shrunk")
    assert (shrunk.workers_before, shrunk.workers_after) == (3, 1)
    assert shrunk.stall_s == pytest.approx(0.0)
    assert scene.links["w3"].take(Retire)
    scene.die("w3", 0)
    scene.die("w2", 0)
    assert "worker_lost" not in scene.kinds()
    assert [count for _, count in scene.job.report().workers_over_time][-1] == 1


def test_planned_leave_is_not_a_loss(play):
    scene = running(play, 2)
    scene.commit("w1", 3)
    scene.say("w2", WorkerLeaving("SIGTERM"))
    # The leaver's process may end before any word of those who stay has arrived.
    scene.die("w2", 0)
    scene.enter()
    scene.commit("w1", 2)
    left = scene.event("worker_left")
    assert (left.workers_before, left.workers_after) == (2, 1)
    assert not scene.links["w1"].take(Interrupt)
    assert "worker_lost" not in scene.kinds()


def test_newcomer_that_dies_costs_nothing(play):
    scene = running(play, 1)
    scene.registry.scale("j", 2)
    scene.hello("w2")
    scene.die("w2", 1)
    assert scene.event("newcomer_lost").workers_after == 1
    assert "worker_lost" not in scene.kinds()
    assert [m.worker for m in scene.agent.take(StartWorker)][-1] == "w3"


def test_plan_fires_once_also_after_a_crash(play):
    plan = [PlanEvent(4, scale=3), PlanEvent(4, kill=1), PlanEvent(9, leave=1), PlanEvent(50, kill=1)]
    scene = play(start_workers=2, plan=plan)
    scene.start_workers()
    assert scene.links["w1"].take(Welcome)[0].milestones == [4, 9, 50]
    scene.enter(step=0)
    scene.commit("w1", 4)
    scene.say("w1", MilestoneReached(4))
    assert scene.links["w1"].take(MilestonePassed) == [MilestonePassed(4)]
    assert scene.agent.take(SignalWorker) == [SignalWorker("w2", 9)]
    assert scene.event("scale_requested").workers_after == 3
    scene.die("w2")
    scene.say("w1", MilestoneReached(4))
    assert scene.links["w1"].take(MilestonePassed) == [MilestonePassed(4)]
    assert scene.agent.take(SignalWorker) == []
    scene.recover()
    scene.enter()
    scene.commit("w1", 5)
    scene.say("w1", MilestoneReached(9))
    assert scene.links["w1"].take(MilestonePassed) == [MilestonePassed(9)]
    assert scene.agent.take(SignalWorker) == [], "three workers are wanted, and so far there is one"
    scene.start_workers()
    while scene.job.membership.members != ("w1", "w3", "w4") or not scene.job.changes.settled:
        scene.enter()
    assert scene.agent.take(SignalWorker) == [SignalWorker("w4", 15)]
    for worker in ("w1", "w3", "w4"):
        scene.finish(worker)
    assert "kill = 1 at step 50" in scene.event("plan_unreached").message


@pytest.mark.parametrize("workers", [0, 5, -1, 10**9])
def test_scale_out_of_bounds(play, workers):
    scene = running(play, 1)
    with pytest.raises(CoordinatorError, match=rf"{workers} workers.*from 1 to 4") as caught:
        scene.registry.scale("j", workers)
    assert caught.value.status == 422
    assert scene.job.status().target_workers == 1


def test_scale_above_shards(play):
    scene = play(start_workers=1)
    scene.shards = 2
    scene.start_workers()
    with pytest.raises(CoordinatorError, match=r"3 workers .* 2 shards: 1 of them would have nothing") as caught:
        scene.registry.scale("j", 3)
    assert caught.value.status == 422


def test_more_workers_than_shards_at_the_start(play):
    scene = play(start_workers=4)
    scene.shards = 3
    scene.start_workers()
    status = scene.job.status()
    assert (status.state, status.failure) == ("failed", "config")
    assert "4 workers" in status.error
    assert "3 shards" in status.error


def test_workers_must_agree_on_the_recipe(play):
    scene = play(start_workers=2)
    scene.hello("w1")
    scene.hello("w2")
    scene.say("w1", WorkerReady(8, 64))
    scene.say("w2", WorkerReady(4, 64))
    status = scene.job.status()
    assert status.failure == "config"
    assert "w2" in status.error
    assert "shards=4" in status.error


def test_stop_at_a_boundary_and_now(play):
    scene = running(play, 1)
    scene.commit("w1", 3)
    scene.registry.stop("j", now=False)
    assert scene.job.state == "stopping"
    assert scene.links["w1"].take(StopJob)
    with pytest.raises(CoordinatorError, match="stopping"):
        scene.registry.scale("j", 2)
    scene.finish("w1")
    assert scene.job.status().state == "stopped"
    assert scene.job.status().weights_sha256 == "aa"


def test_stop_now(play):
    scene = running(play, 1)
    scene.registry.stop("j", now=True)
    assert scene.job.status().state == "stopped"
    assert scene.agent.take(StopAgent) == [StopAgent(0.0)]


def test_calls_are_kept_and_relayed_to_newcomers(play):
    scene = running(play, 1)
    scene.registry.scale("j", 2)
    link = scene.hello("w2")
    call = CallEnded(0, "evaluate")
    scene.say("w1", call)
    scene.say("w1", call)
    assert link.take(CallEnded) == [call]
    assert not scene.links["w1"].take(CallEnded)
    scene.take(WorkerDisconnected("w2"), link=link)
    assert scene.hello("w2").take(Welcome)[0].calls == [call]


def test_messages_wait_for_a_worker_that_is_away(play):
    scene = running(play, 2)
    scene.take(WorkerDisconnected("w1"), link=scene.links["w1"])
    assert "worker_lost" not in scene.kinds()
    scene.die("w2")
    link = scene.hello("w1", generation=1, stateful=True)
    assert isinstance(link.sent[0], Welcome)
    assert link.take(Interrupt)


def test_agent_lost_and_back(play):
    scene = running(play, 1, patience_s=5.0)
    scene.take(AgentDisconnected(), link=scene.agent)
    scene.time.now_s += 6
    scene.registry.tick()
    assert scene.event("agent_lost")
    assert scene.job.state == "running"
    scene.take(AgentConnected(AgentHello("j", "here", 77, {"w1": 1001})), link=scene.agent)
    assert scene.event("agent_returned")
    assert scene.job.state == "running"


def test_agent_that_returns_without_a_worker_has_its_end_to_tell(play):
    scene = running(play, 2)
    scene.take(AgentDisconnected(), link=scene.agent)
    scene.take(AgentConnected(AgentHello("j", "here", 77, {"w1": 1001})), link=scene.agent)
    assert "worker_lost" not in scene.kinds()  # how it ended is under way, because it was not taken yet
    scene.die("w2")
    assert "w2, rank 1 of 2, is lost in step 0: killed by SIGKILL" in scene.event("worker_lost").message


def test_another_agent_takes_over_only_when_the_first_one_is_away(play):
    scene = running(play, 2)
    second = FakeLink()
    with pytest.raises(ProtocolError, match="another agent"):
        scene.take(AgentConnected(AgentHello("j", "here", 78)), link=second)
    scene.take(AgentDisconnected(), link=scene.agent)
    scene.take(AgentDied(77, replaced=True))
    scene.registry.scale("j", 3)
    scene.take(AgentConnected(AgentHello("j", "here", 78)), link=second)
    assert second.take(AdoptWorker) == [AdoptWorker("w1", 1001), AdoptWorker("w2", 1002)]
    assert second.take(StartWorker) == [StartWorker("w3")]
    # It breaks off before it has adopted w2: told again, and w2 is not taken for dead.
    scene.agent_says(WorkerStarted("w1", 1001))
    scene.take(AgentDisconnected(), link=second)
    third = FakeLink()
    scene.take(AgentConnected(AgentHello("j", "here", 78, {"w1": 1001, "w3": 1003})), link=third)
    assert third.take(AdoptWorker) == [AdoptWorker("w2", 1002)]
    scene.agent_says(WorkerExited("w2", 1002, 255))
    assert "nobody saw how" in scene.event("worker_lost").message


def test_agent_and_workers_lost_end_the_job(play):
    scene = running(play, 1, patience_s=5.0)
    scene.take(AgentDisconnected(), link=scene.agent)
    scene.take(WorkerDisconnected("w1"), link=scene.links["w1"])
    scene.time.now_s += 6
    scene.registry.tick()
    assert scene.job.status().failure == "lost"


@pytest.mark.parametrize(
    "message",
    [
        GenerationEntered(7, 0, []),
        GenerationFailed(7, "x"),
        Interrupted(7, True),
        Interrupted(-1, True),
        StepsCommitted(0, [1.0], [1.0], 0, 1),
        MilestoneReached(0),
        CallEnded(0, "steps"),
        WorkerReady(0, 1),
        WorkerHello("j", "w1", 1, "h", 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_out_of_order_messages_are_refused_and_change_nothing(play, message):
    scene = play(start_workers=1)
    scene.hello("w1")
    before = scene.job.status()
    with pytest.raises(ProtocolError):
        scene.say("w1", message)
    assert scene.job.status() == before
    scene.say("w1", WorkerReady(8, 64))
    scene.enter(step=0)
    assert scene.job.state == "running"


def test_unknown_worker_is_told_to_exit(play):
    scene = play()
    scene.agent.take(StartWorker)
    link = scene.links["x"] = FakeLink()
    from_nowhere = WorkerHello("j", "w99", 5, "h", 1)
    assert scene.take(WorkerConnected(from_nowhere), link=link) is None
    assert link.take(Retire)


def test_job_without_agent_gives_up(journal):
    time = FakeTime()
    registry = Registry(journal, clock=time.clock())
    job = registry.create(JobSpec("alone", "t.py"))
    time.now_s += 61
    registry.tick()
    assert "no agent" in job.status().error


def test_a_script_failure_counts_the_steps_that_the_main_worker_had_no_time_to_report(play):
    scene = running(play, 2)
    scene.commit("w1", 3)
    scene.say("w2", WorkerFailed("ValueError: x", "Traceback ...\nValueError: x", steps=5, samples=320))
    report = scene.job.report()
    assert (report.state, report.steps, report.samples) == ("failed", 5, 320)
    assert report.losses[3:] == [None, None]
