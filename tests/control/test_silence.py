"""Workers that hang, or that the others cannot reach: found, expelled, and killed if they stay."""

from dataclasses import replace
from functools import partial

import pytest
from control_fakes import Play

from pliant.control.inputs import AgentConnected, AgentDisconnected, WorkerDisconnected
from pliant.control.registry import Registry
from pliant.wire.agent_messages import (
    AdoptWorker,
    AgentHello,
    ProbeWorker,
    SignalWorker,
    StartWorker,
    WorkerExited,
    WorkerProbed,
)
from pliant.wire.messages import FormGeneration, GenerationFailed, Interrupt, Interrupted, Retire, StillHere

TICK_S = 0.25


class Scene:
    """A job whose workers beat, except those that hang."""

    def __init__(self, play, workers, **spec):
        self.play = play(start_workers=workers, patience_s=10.0, **spec)
        self.play.start_workers()
        self.play.enter()
        self.play.commit("w1", 3)
        self.hung = set()
        self.cpu_s = dict.fromkeys(self.play.links, 1.0)
        self.busy = self.stopped = False

    def go(self, seconds):
        for _ in range(round(seconds / TICK_S)):
            self.play.time.now_s += TICK_S
            for worker in set(self.play.links) - self.hung:
                self.play.say(worker, StillHere())
            self.play.registry.tick()
            for probe in self.play.agent.take(ProbeWorker):
                self.cpu_s[probe.worker] += 5 * TICK_S if self.busy else 0.0
                self.play.agent_says(WorkerProbed(probe.worker, True, self.stopped, self.cpu_s[probe.worker]))
        return self


@pytest.fixture
def scene(play):
    return lambda workers, **spec: Scene(play, workers, **spec)


def test_a_stopped_worker_is_expelled_and_the_others_go_on(scene):
    it = scene(3)
    it.hung, it.stopped = {"w2"}, True
    it.go(9.5)
    assert not it.play.links["w2"].take(Retire)
    it.go(1)
    assert it.play.event("worker_silent").message.startswith("w2 is silent for 10")
    assert "its process is stopped" in it.play.event("worker_lost").message
    assert it.play.links["w2"].take(Retire)
    assert [message.worker for message in it.play.agent.take(StartWorker)] == ["w4"]
    assert [w.worker for w in it.play.job.status().workers] == ["w1", "w3", "w4"]
    it.play.recover()
    form = it.play.enter()
    assert [member.worker for member in form.members] == ["w1", "w3"]


def test_an_expelled_worker_is_killed_unless_it_leaves(scene):
    it = scene(2)
    it.hung, it.stopped = {"w2"}, True
    it.go(11)
    it.play.recover()
    assert not it.play.agent.take(SignalWorker)
    it.go(10)
    assert it.play.agent.take(SignalWorker) == [SignalWorker("w2", 9)]
    it.play.die("w2")
    it.go(30)
    assert not it.play.agent.take(SignalWorker)
    assert it.play.kinds().count("worker_lost") == 1


def test_an_expelled_worker_that_wakes_up_is_sent_home(scene):
    it = scene(2)
    it.hung, it.stopped = {"w2"}, True
    it.go(11)
    it.play.take(WorkerDisconnected("w2"), link=it.play.links["w2"])
    link = it.play.hello("w2", generation=1, stateful=True)
    assert link.take(Retire)
    assert not link.sent
    it.play.die("w2", code=0)
    it.go(20)
    assert not it.play.agent.take(SignalWorker)


def test_a_busy_worker_is_named_and_kept(scene):
    it = scene(2)
    it.hung, it.busy = {"w2"}, True
    it.go(50)
    assert "w2" in it.play.event("worker_slow").message
    assert "worker_silent" not in it.play.kinds()
    it.go(11)
    assert "worker_silent" in it.play.kinds()


def test_who_does_not_answer_an_interrupt_is_expelled(scene):
    it = scene(3)
    it.play.die("w3")
    assert it.play.links["w2"].take(Interrupt)
    (interrupt,) = it.play.links["w1"].take(Interrupt)
    it.play.say("w1", Interrupted(interrupt.generation, stateful=True, entered=1))
    it.go(11)
    assert it.play.event("worker_silent").message.startswith("w2")
    assert [member.worker for member in it.play.enter().members] == ["w1"]


def test_a_coordinator_that_stood_still_expels_nobody(scene):
    it = scene(2)
    it.hung = {"w1", "w2"}
    it.go(2)
    it.play.time.now_s += 100.0
    it.go(4)
    it.hung = set()
    it.go(5)
    assert not {"worker_silent", "worker_lost"} & set(it.play.kinds())


def test_another_coordinator_begins_to_listen_anew(journal):
    it = Scene(partial(Play, journal), 2)
    it.hung, it.stopped = {"w2"}, True
    it.go(8)
    again = Registry(journal, clock=it.play.time.clock())
    job = again.live("j")
    for _ in range(36):
        it.play.time.now_s += TICK_S
        again.tick()
    assert "worker_silent" not in {event.kind for event in job.events()}


def test_who_is_dismissed_need_not_speak(scene):
    it = scene(2)
    it.play.registry.scale("j", 1)
    it.play.enter()
    assert it.play.links["w2"].take(Retire)
    it.hung = {"w2"}
    it.go(30)
    assert "worker_silent" not in it.play.kinds()


def test_a_new_agent_also_looks_after_the_expelled(scene):
    it = scene(2)
    it.hung, it.stopped = {"w2"}, True
    it.go(11)
    it.play.recover()
    it.play.agent.take(AdoptWorker)
    it.play.take(AgentDisconnected(), link=it.play.agent)
    it.play.take(AgentConnected(AgentHello("j", "here", 78)), link=it.play.agent)
    assert {message.worker for message in it.play.agent.take(AdoptWorker)} == {"w1", "w2"}


def test_heartbeats_and_looks_at_processes_are_not_journaled(scene, journal):
    it = scene(2)
    before = len(journal.inputs[it.play.job.id])
    it.hung = {"w2"}
    it.go(8)
    assert len(journal.inputs[it.play.job.id]) == before


def test_a_worker_that_the_others_cannot_reach_is_expelled(scene):
    it = scene(3)
    for generation in (1, 2):
        it.play.say("w3", GenerationFailed(generation, "no answer", peer="w1"))
        for worker, link in it.play.links.items():
            for message in link.take(Interrupt):
                missing = [] if worker == "w3" else ["w3"]
                answer = Interrupted(message.generation, stateful=True, entered=1, missing=missing)
                it.play.say(worker, answer)
    assert it.play.links["w3"].take(Retire)
    assert it.play.event("worker_cut_off").message.startswith("w3 is cut off")
    form = max((f for f in it.play.links["w1"].take(FormGeneration)), key=lambda f: f.generation)
    assert [member.worker for member in form.members] == ["w1", "w2"]
    it.hung = {"w3"}
    it.go(11)
    assert it.play.agent.take(SignalWorker) == [SignalWorker("w3", 9)], "it has not left"


def test_nothing_goes_on_from_a_checkpoint_while_the_expelled_may_still_train_with_each_other(scene, tmp_path):
    it = scene(2, checkpoints=str(tmp_path))
    it.hung, it.stopped = {"w1", "w2"}, True
    asked = []
    it.play.job.around = replace(it.play.job.around, choose_checkpoint=lambda job, directory: asked.append(directory))
    it.go(11)
    assert it.play.event("state_lost")
    assert not asked
    it.go(10)
    assert {message.worker for message in it.play.agent.take(SignalWorker)} == {"w1", "w2"}
    it.play.agent_says(WorkerExited("w1", 1001, -9))
    assert not asked
    it.play.agent_says(WorkerExited("w2", 1002, -9))
    assert asked == [str(tmp_path)]
