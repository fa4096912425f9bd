import pytest
from control_fakes import FakeLink, FakeTime, Play

from pliant.control.registry import Registry
from pliant.errors import CoordinatorError
from pliant.wire.agent_messages import AgentHello, StartWorker, StopAgent
from pliant.wire.api import JobSpec


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def registry(journal, time):
    return Registry(journal, clock=time.clock())


def test_a_live_job_is_taken_up_where_it_was(journal, time):
    scene = Play(journal, time=time, start_workers=2)
    scene.start_workers()
    scene.enter(step=0)
    scene.commit("w1", 5)
    scene.registry.scale("j", 3)
    before, status = scene.job.events(), scene.job.status()
    time.now_s += 2
    again = Registry(journal, clock=time.clock())
    job = again.find("j")
    assert job.status() == status
    *same, returned = job.events()
    assert same == before
    assert returned.seq == before[-1].seq + 1
    assert (returned.kind, "2.0 s" in returned.message) == ("coordinator_returned", True)
    # Those that it knows come back, and the command that was under way is given again.
    agent = FakeLink()
    again.agent_arrived(AgentHello("j", "here", 77, {"w1": 1001, "w2": 1002}), agent)
    assert agent.take(StartWorker) == [StartWorker("w3")]
    assert again.create(JobSpec("k", "t.py")).events()[0].seq > returned.seq
    time.now_s += 1
    third = Registry(journal, clock=time.clock())
    assert third.find("j").events()[:-1] == job.events()


def test_time_without_a_coordinator_does_not_count_as_absence(journal, time):
    scene = Play(journal, time=time, start_workers=2)
    scene.start_workers()
    scene.enter(step=0)
    time.now_s += 5 * scene.spec.patience_s
    again = Registry(journal, clock=time.clock())
    again.tick()
    job = again.find("j")
    assert (job.agent.lost, job.over) == (False, False), "nobody has had time to find this coordinator"
    time.now_s += scene.spec.patience_s + 1
    again.tick()
    assert job.agent.lost, "but then it counts"


def test_a_job_that_ended_as_its_coordinator_died_is_over(journal, time, monkeypatch):
    scene = Play(journal, time=time)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "put_end", lambda *_, **__: None)
        scene.registry.stop("j", now=True)
    agent = FakeLink()
    again = Registry(journal, clock=time.clock())
    assert again.find("j").status() == scene.job.status()
    again.agent_arrived(AgentHello("j", "here", 77, {"w1": 1001}), agent)
    assert agent.take(StopAgent)
    assert [kept.live for kept in journal.jobs()] == [False]


def test_a_job_of_another_version_is_lost_and_says_so(journal, time):
    Play(journal, time=time)
    journal.flush()
    journal._connection.execute("UPDATE jobs SET version = 0")
    status = Registry(journal, clock=time.clock()).find("j").status()
    assert status.failure == "lost"
    assert "version 0" in status.error


def test_jobs_that_are_over_are_forgotten_beyond_fifty(registry):
    for number in range(60):
        registry.create(JobSpec(f"j{number}", "t.py"))
        registry.stop(f"j{number}", now=True)
    assert len(registry.jobs) <= 51
    assert "j59" in registry.jobs
    with pytest.raises(CoordinatorError):
        registry.find("j0")


def test_unused_time(registry, time):
    time.now_s += 5
    registry.tick()
    assert registry.unused_s() == 5
    registry.create(JobSpec("j", "t.py"))
    registry.tick()
    assert registry.unused_s() == 0
    registry.stop("j", now=True)
    registry.open_sockets = 1
    time.now_s += 5
    registry.tick()
    assert registry.unused_s() == 0
    registry.open_sockets = 0
    time.now_s += 3
    registry.tick()
    assert registry.unused_s() == 3


def test_agent_without_a_job_is_sent_home_after_a_minute(registry, time):
    link = FakeLink()
    registry.agent_arrived(AgentHello("never", "here", 1), link)
    time.now_s += 59
    registry.tick()
    assert not link.sent
    time.now_s += 2
    registry.tick()
    assert link.take(StopAgent)


def test_one_jobs_trouble_is_not_that_of_others(registry, time, monkeypatch, caplog):
    bad, good = registry.create(JobSpec("bad", "t.py")), registry.create(JobSpec("good", "t.py"))
    monkeypatch.setattr(bad, "end", lambda *_: 1 / 0)
    time.now_s += 61
    registry.tick()
    assert "job bad: tick failed" in caplog.text
    assert good.over
    assert not bad.over


@pytest.mark.parametrize(("launch", "taken"), [("new", True), ("old", False)])
def test_early_agent_is_taken_only_by_its_own_launch(registry, launch, taken):
    early, right = FakeLink(), FakeLink()
    registry.agent_arrived(AgentHello("j", "here", 1, launch=launch), early)
    job = registry.create(JobSpec("j", "t.py", launch="new"))
    assert bool(early.take(StartWorker)) == taken
    assert bool(early.take(StopAgent)) != taken
    if not taken:
        registry.agent_arrived(AgentHello("j", "here", 2, launch="new"), right)
        assert right.take(StartWorker)
    assert job.agent.pid == (1 if taken else 2)
