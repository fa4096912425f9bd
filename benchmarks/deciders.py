"""(d) What the deciders cost with a thousand members: processor time of whole generation changes, in one process.

Nobody is there: the events of a thousand workers are handed to the production code one after the other. Three parts of
it: ``membership`` is the decider of the coordinator alone; ``coordinator`` is its whole handling of what workers and
agent say, without journal and sockets; ``worker`` is what each of the thousand workers computes for itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from benchmarks.spread import Spread, spread
from pliant.control import inputs as given
from pliant.control.intake import handle
from pliant.control.job import Job
from pliant.control.surroundings import Surroundings
from pliant.ids import WorkerId
from pliant.membership import events as ev
from pliant.membership.pace_plan import REST_PASSES, Dealer
from pliant.membership.state import JobMembership
from pliant.membership.sync_plan import SyncReport, plan_sync
from pliant.wire.agent_messages import AgentHello, StartWorker, WorkerExited, WorkerStarted
from pliant.wire.api import JobSpec
from pliant.wire.messages import (
    FormGeneration,
    GenerationEntered,
    GenerationFailed,
    Interrupt,
    Interrupted,
    Message,
    WorkerHello,
    WorkerReady,
)

MEMBERS = 1000
SHARDS = 4096

_Kind = TypeVar("_Kind", FormGeneration, Interrupt)


class DeciderResult(msgspec.Struct, frozen=True):
    """Processor time of one kind of change."""

    part: str
    what: str
    cpu_s: Spread


def measure(*, repeats: int) -> list[DeciderResult]:
    """Every case ``repeats`` times, after one round that does not count."""
    times: dict[tuple[str, str], list[float]] = {}
    for number in range(repeats + 1):
        for part, case in (("membership", _membership), ("coordinator", _coordinator), ("worker", _worker)):
            for what, cpu_s in case():
                if number:
                    times.setdefault((part, what), []).append(cpu_s)
    return [DeciderResult(part, what, spread(each)) for (part, what), each in times.items()]


def _timed(what: str, act: Callable[[], object]) -> tuple[str, float]:
    began_s = time.process_time()
    act()
    return what, time.process_time() - began_s


# ------------------------------------------------------------ the coordinator's decider


def _membership() -> Iterable[tuple[str, float]]:
    job = JobMembership(start=MEMBERS, minimum=1)
    workers = [each.worker for each in job.begin() if isinstance(each, ev.StartWorkerProcess)]
    yield _timed("founding", lambda: _found(job, workers))
    newcomers: list[WorkerId] = []
    yield _timed("a death", lambda: newcomers.extend(_die(job)))
    yield _timed("a join", lambda: _join(job, newcomers[0]))
    if len(job.members) != MEMBERS or int(job.generation) != 3:
        raise RuntimeError(f"generation {job.generation} has {len(job.members)} members")


def _say(job: JobMembership, events: Iterable[ev.MembershipEvent]) -> list[ev.Decision]:
    return [decision for event in events for decision in job.handle(event)]


def _enter(job: JobMembership, said: list[ev.Decision]) -> None:
    (announced,) = [each for each in said if isinstance(each, ev.AnnounceGeneration)]
    _say(job, (ev.WorkerEntered(worker, announced.generation) for worker in announced.to))


def _found(job: JobMembership, workers: list[WorkerId]) -> None:
    _say(job, (ev.WorkerConnected(worker, "127.0.0.1", 1) for worker in workers))
    _enter(job, _say(job, (ev.WorkerReadied(worker, SHARDS) for worker in workers)))


def _die(job: JobMembership) -> list[WorkerId]:
    """One process ends; its peers notice first, are interrupted, answer, and enter the next generation."""
    generation, victim = job.generation, job.members[MEMBERS // 2]
    others = [worker for worker in job.members if worker != victim]
    said = _say(job, (ev.GenerationBroke(worker, generation) for worker in others))
    said += job.handle(ev.WorkerGone(victim))
    said += _say(job, (ev.WorkerInterrupted(worker, generation, True, generation) for worker in others))
    _enter(job, said)
    return [each.worker for each in said if isinstance(each, ev.StartWorkerProcess)]


def _join(job: JobMembership, worker: WorkerId) -> None:
    said = job.handle(ev.WorkerConnected(worker, "127.0.0.1", 1))
    _enter(job, said + job.handle(ev.WorkerReadied(worker, SHARDS)))


# ------------------------------------------------------------ the coordinator's job


class _Link:
    """Keeps what was said."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def close(self, code: int, reason: str) -> None:
        """Nothing."""


class _Played:
    """A job of the coordinator, and a thousand workers that answer as workers do."""

    def __init__(self) -> None:
        self._seq = 0
        around = Surroundings(lambda *_: None, self._next, lambda *_: None)
        spec = JobSpec("bench", "train.py", max_workers=MEMBERS, start_workers=MEMBERS)
        self.job = Job("bench", spec, around, moment=given.Moment(0.0, 0.0))
        self._now_s = 0.0
        self.agent = _Link()
        self.links: dict[str, _Link] = {}
        self.take(given.AgentConnected(AgentHello("bench", "here", 1)), self.agent)

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def take(self, item: given.Input, link: _Link | None = None) -> None:
        self._now_s += 1e-6
        handle(self.job, given.Entry(given.Moment(self._now_s, self._now_s, self._seq), item), link)

    def say(self, worker: str, message: Message) -> None:
        self.take(given.WorkerSaid(worker, message))  # type: ignore[arg-type]

    def start_workers(self) -> None:
        """All that were asked for."""
        asked, self.agent.sent = self.agent.sent, []
        for worker in [message.worker for message in asked if isinstance(message, StartWorker)]:
            pid, link = 1000 + int(worker[1:]), _Link()
            self.links[worker] = link
            self.take(given.AgentSaid(WorkerStarted(worker, pid)))
            self.take(given.WorkerConnected(WorkerHello("bench", worker, pid, "127.0.0.1", 1)), link)
            self.say(worker, WorkerReady(SHARDS, SHARDS))
        self.enter()

    def enter(self) -> None:
        """Everybody enters the newest generation."""
        form = self._said_last(FormGeneration)
        for member in form.members:
            self.say(member.worker, GenerationEntered(form.generation, 0, [0]))

    def die(self) -> None:
        """As :func:`_die`."""
        training, generation = self.job.changes.training(), self.job.changes.newest
        victim = training[MEMBERS // 2]
        others = [worker for worker in training if worker != victim]
        for worker in others:
            self.say(worker, GenerationFailed(generation, "connection reset", peer=victim))
        self.take(given.AgentSaid(WorkerExited(victim, 1000 + int(victim[1:]), -9)))
        generation = self._said_last(Interrupt).generation
        for worker in others:
            self.say(worker, Interrupted(generation, stateful=True, entered=generation))
        self.enter()

    def _said_last(self, kind: type[_Kind]) -> _Kind:
        """The newest message of this kind to w1, which is always there."""
        return next(message for message in reversed(self.links["w1"].sent) if isinstance(message, kind))


def _coordinator() -> Iterable[tuple[str, float]]:
    played = _Played()
    yield _timed("founding", played.start_workers)
    yield _timed("a death", played.die)
    yield _timed("a join", played.start_workers)
    found = (len(played.job.changes.training()), played.job.changes.newest)
    if found != (MEMBERS, 3):
        raise RuntimeError(f"{found[0]} members train in generation {found[1]}")


# ------------------------------------------------------------ every worker


def _worker() -> Iterable[tuple[str, float]]:
    even, rest = divmod(SHARDS, MEMBERS)
    ends = [rank * even + min(rank, rest) for rank in range(MEMBERS + 1)]
    paces = [0.01 * (1 + rank % 3) for rank in range(MEMBERS)]
    reports = [
        SyncReport(
            WorkerId(f"w{rank}"),
            rank,
            stateful=True,
            passes_done=7,
            full=False,
            held=tuple(range(ends[rank], ends[rank + 1])),
            pace=paces[rank],
        )
        for rank in range(MEMBERS - 1)
    ]
    yield _timed("first exchange after a death", lambda: plan_sync(reports, shards=SHARDS))
    dealer = Dealer([0.0] * MEMBERS)
    dealer.takes(SHARDS)
    for _ in range(REST_PASSES - 1):
        dealer.heard(paces, shards=SHARDS)
    yield _timed("another deal", lambda: dealer.heard(paces, shards=SHARDS))
    yield _timed("a pass with the same deal", lambda: dealer.heard(paces, shards=SHARDS))
