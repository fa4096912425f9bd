"""A job played by hand: a clock that stands still, links that remember, workers that say what the test wants."""

from __future__ import annotations

import time

from pliant.control.clock import Clock
from pliant.control.inputs import AgentSaid, ServerConnected, ServerSaid, WorkerConnected, WorkerSaid
from pliant.control.registry import Registry
from pliant.wire.agent_messages import AgentHello, StartWorker, WorkerExited, WorkerStarted
from pliant.wire.api import JobSpec
from pliant.wire.messages import (
    FormGeneration,
    GenerationEntered,
    Interrupt,
    Interrupted,
    StepsCommitted,
    WorkerFinished,
    WorkerHello,
    WorkerReady,
)
from pliant.wire.server_messages import PlaceSlots, ServerHello, SlotsFilled

DEADLINE_S = 20.0


def wait_for(condition, what):
    """Wait until ``condition()`` is true, and return it; fail with ``what`` at the deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def process_id(name):
    """w1 is 1001, s1 is 2001."""
    return (1000 if name[0] == "w" else 2000) + int(name[1:])


class FakeTime:
    def __init__(self):
        self.now_s = 1000.0

    def clock(self):
        return Clock(monotonic=lambda: self.now_s, unix=lambda: 1_700_000_000.0 + self.now_s)


class FakeLink:
    def __init__(self):
        self.sent = []
        self.closed = None

    def send(self, message):
        self.sent.append(message)

    def close(self, code, reason):
        self.closed = (code, reason)

    def take(self, kind):
        """All messages of a kind so far, which are then forgotten."""
        found = [message for message in self.sent if isinstance(message, kind)]
        self.sent = [message for message in self.sent if not isinstance(message, kind)]
        return found


class Play:
    """One job with its agent and workers."""

    def __init__(self, journal, *, time=None, registry=None, **spec):
        self.time = time or FakeTime()
        self.registry = registry or Registry(journal, clock=self.time.clock())
        self.spec = JobSpec(**{"name": "j", "script": "train.py", "min_workers": 1, "max_workers": 4, **spec})
        self.job = self.registry.create(self.spec)
        self.agent = FakeLink()
        self.registry.agent_arrived(AgentHello("j", "here", 77), self.agent)
        self.links = {}
        self.records = {}
        self.step_s = 1.0
        self.shards = 8

    def start_workers(self):
        """Let every worker that was asked for start, connect and be ready."""
        for message in self.started("worker"):
            self.hello(message.worker)
            self.say(message.worker, WorkerReady(self.shards, 64, total_steps=100, epochs=2))

    def started(self, role):
        """Who of a role was asked for since this was last asked; the others are still to be started."""
        messages = self.agent.take(StartWorker)
        self.agent.sent += [message for message in messages if message.role != role]
        return [message for message in messages if message.role == role]

    def start_servers(self):
        """Let every server that was asked for start and connect; returns their ids."""
        started = [message.worker for message in self.started("server")]
        for server in started:
            self.server_hello(server)
        return started

    def server_hello(self, server, **fields):
        pid = process_id(server)
        self.agent_says(WorkerStarted(server, pid))
        link = self.links[server] = FakeLink()
        hello = ServerHello("j", server, pid, f"ipc:///{server}", **fields)
        self.records[server] = self.take(ServerConnected(hello), link=link)
        return link

    def server_says(self, server, message):
        self.take(ServerSaid(server, message))

    def placement(self, peer):
        """The newest placement that somebody was told; older ones are forgotten."""
        return self.links[peer].take(PlaceSlots)[-1]

    def fill(self, *, size_bytes=0):
        """Everybody who is sent slots receives them, until nobody is."""
        slots = self.job.servers.slots
        while filling := {server for place in slots.places for server in place.filling}:
            for server in sorted(filling):
                theirs = [slot for slot, place in enumerate(slots.places) if server in place.filling]
                self.server_says(server, SlotsFilled(slots.version, theirs, size_bytes))

    def hello(self, worker, **fields):
        pid = process_id(worker)
        self.agent_says(WorkerStarted(worker, pid))
        link = self.links[worker] = FakeLink()
        hello = WorkerHello("j", worker, pid, "127.0.0.1", 5, **fields)
        self.records[worker] = self.take(WorkerConnected(hello), link=link)
        return link

    def take(self, item, *, link=None):
        return self.registry.take(self.job, item, link=link)

    def agent_says(self, message):
        self.take(AgentSaid(message))

    def say(self, worker, message):
        if self.records[worker] is not None:  # else it was told to exit
            self.take(WorkerSaid(worker, message))

    def enter(self, *, step=None, recomputed=None, received=0):
        """All members of the newest announced generation enter it; returns it. ``recomputed``: worker -> shards."""
        forms = [form for link in self.links.values() for form in link.take(FormGeneration)]
        form = max(forms, key=lambda form: form.generation)
        step = self.job.progress.step if step is None else step
        for member in form.members:
            shards = (recomputed or {}).get(member.worker, [])
            self.say(
                member.worker,
                GenerationEntered(form.generation, step, [0], shards_recomputed=shards, bytes_received=received),
            )
        return form

    def commit(self, worker, count, *, loss=1.0):
        """``count`` commits, one each ``step_s``."""
        first = self.job.progress.step
        times = []
        for _ in range(count):
            self.time.now_s += self.step_s
            times.append(self.time.now_s)
        samples = (first + count) * 64
        self.say(worker, StepsCommitted(first, times, [loss] * count, epoch=0, samples=samples))

    def die(self, worker, code=-9):
        self.agent_says(WorkerExited(worker, process_id(worker), code))

    def recover(self):
        """Everyone who was interrupted answers that it holds the state."""
        for worker, link in self.links.items():
            for message in link.take(Interrupt):
                self.say(worker, Interrupted(message.generation, stateful=True, entered=message.generation))

    def finish(self, worker, digest="aa"):
        self.say(worker, WorkerFinished(digest, self.job.progress.step, self.job.progress.step * 64, 0.25))

    def kinds(self):
        return [event.kind for event in self.job.events()]

    def event(self, kind):
        (event,) = [event for event in self.job.events() if event.kind == kind]
        return event
