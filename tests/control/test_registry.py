import pytest
from control_fakes import FakeLink, FakeTime, Play

from pliant.control.registry import Registry
from pliant.errors import CoordinatorError
from pliant.wire.api import JobSpec
from pliant.wire.messages import AgentHello, StartWorker, StopAgent


@pytest.fixture
def time():
    return FakeTime()


@pytest.fixture
def registry(journal, time):
    return Registry(journal, clock=time.clock())


def test_event_numbers_go_on_after_a_restart(journal, time):
    scene = Play(journal, time=time)
    last = scene.job.events()[-1].seq
    again = Registry(journal, clock=time.clock())
    assert again.find("j").status().failure == "lost"
    assert again.create(JobSpec("k", "t.py")).events()[0].seq > last + 1


def test_what_the_journal_has_of_a_running_job(journal, time):
    scene = Play(journal, time=time, start_workers=2)
    scene.start_workers()
    scene.enter(step=0)
    scene.commit("w1", 5)
    scene.registry.tick()
    (kept,) = journal.jobs()
    row = kept.row
    assert (row.state, row.generation, row.members, row.target, row.step) == ("running", 1, ["w1", "w2"], 2, 5)
    assert journal.events(kept.id) == scene.job.events()


def test_jobs_that_are_over_are_forgotten_beyond_fifty(registry):
    for number in range(60):
        registry.create(JobSpec(f"j{number}", "t.py")).stop(now=True)
    assert len(registry.jobs) <= 51
    assert "j59" in registry.jobs
    with pytest.raises(CoordinatorError):
        registry.find("j0")


def test_unused_time(registry, time):
    time.now_s += 5
    registry.tick()
    assert registry.unused_s() == 5
    job = registry.create(JobSpec("j", "t.py"))
    registry.tick()
    assert registry.unused_s() == 0
    job.stop(now=True)
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
    monkeypatch.setattr(bad, "now_s", lambda: 1 / 0)
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
