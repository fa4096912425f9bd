"""Random histories, sane and insane: the invariants hold, numbers rise, ids are new, and the end is the end."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.membership.state import JobMembership

SHARDS = 6


class History:
    """Feeds events that are partly what workers would say, partly nonsense."""

    def __init__(self, seed: int, *, nonsense: float, ends: bool = True) -> None:
        self.rng = random.Random(seed)
        self.nonsense = nonsense
        self.ends = ends
        self.minimum = self.rng.randint(1, 3)
        start = self.rng.randint(self.minimum, 5)
        self.job = JobMembership(start=start, minimum=self.minimum, resume=self.rng.random() < 0.2)
        self.started: list[WorkerId] = []
        self.gone: set[WorkerId] = set()
        self.pending: list[ev.MembershipEvent] = []
        self.newest = 0
        self.ended = False
        self.take(self.job.begin())

    def take(self, decisions: list[ev.Decision]) -> None:
        self.job.invariants()
        for decision in decisions:
            assert not self.ended, "a decision after EndJob"
            match decision:
                case ev.StartWorkerProcess(worker):
                    assert worker not in self.started
                    self.started.append(worker)
                    self.pending.append(ev.WorkerConnected(worker, "h", 1))
                    self.pending.append(ev.WorkerReadied(worker, SHARDS))
                case ev.AnnounceGeneration(generation, _, members, to):
                    again = len(to) == 1 and generation <= self.newest
                    assert again or generation > self.newest
                    self.newest = max(self.newest, generation)
                    for place in members if not again else ():
                        self.pending.append(ev.WorkerEntered(place.worker, generation))
                case ev.InterruptGeneration(generation, to):
                    assert to
                    for worker in to:
                        self.pending.append(
                            ev.WorkerInterrupted(
                                worker,
                                generation,
                                self.rng.random() < 0.8,
                                generation,
                                tuple(self.anybody() for _ in range(self.rng.randint(0, 2))),
                            )
                        )
                case ev.RetireWorker(worker) | ev.ExpelWorker(worker):
                    self.pending.append(ev.WorkerGone(worker))
                case ev.AskToStop(to):
                    assert to
                case ev.FindState():
                    assert self.job.finding
                    found = self.rng.random() < 0.8
                    self.pending.append(ev.StateFound() if found else ev.StateMissing("there is none"))
                case ev.EndJob():
                    self.ended = True

    def anybody(self) -> WorkerId:
        return WorkerId(f"w{self.rng.randint(1, len(self.started) + 1)}")

    def disturb(self) -> ev.MembershipEvent:
        rng, worker = self.rng, self.anybody()
        generation = Generation(rng.randint(0, self.newest + 1))
        members = self.job.members
        nonsense: list[ev.MembershipEvent] = [
            ev.WorkerConnected(worker, "h", 2),
            ev.WorkerReadied(worker, SHARDS),
            ev.WorkerEntered(worker, generation),
            ev.WorkerInterrupted(worker, generation, rng.random() < 0.5, generation),
            ev.GenerationBroke(worker, generation, rng.random() < 0.5),
        ]
        plausible: list[ev.MembershipEvent] = [
            ev.WorkerGone(worker if rng.random() < 0.5 or not members else rng.choice(members)),
            ev.WorkerAskedToLeave(worker),
            ev.TargetChanged(rng.randint(self.minimum, SHARDS)),
            ev.GenerationBroke(
                worker, Generation(self.newest), rng.random() < 0.5, self.anybody(), closed=rng.random() < 0.3
            ),
        ]
        nonsense += [] if self.job.finding else [ev.StateFound(), ev.StateMissing("nobody asked")]
        if self.ends and rng.random() < 0.1:
            plausible += [ev.StopAsked(), ev.WorkerEnded(worker)]
        if rng.random() < 0.05:
            plausible.append(ev.StateLost("servers are gone"))
        return rng.choice(nonsense if rng.random() < self.nonsense else plausible)

    def run(self, length: int) -> None:
        for _ in range(length):
            if self.pending and self.rng.random() < 0.8:
                at = self.rng.randrange(min(6, len(self.pending)))
                event = self.pending.pop(at)
            else:
                event = self.disturb()
            if isinstance(event, ev.WorkerGone) and event.worker in self.started:
                self.gone.add(event.worker)
            self.take(self.job.handle(event))

    def settle(self) -> None:
        """Only what is outstanding still happens, and nobody who is gone says anything."""
        for _ in range(2000):
            if not self.pending or self.ended:
                return
            event = self.pending.pop(0)
            worker = getattr(event, "worker", None)
            if worker not in self.gone:
                if isinstance(event, ev.WorkerGone):
                    self.gone.add(event.worker)
                self.take(self.job.handle(event))
        raise AssertionError("the decider never comes to rest")


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), length=st.integers(1, 120), nonsense=st.sampled_from([0.0, 0.3, 0.8]))
def test_any_history_keeps_the_invariants(seed, length, nonsense):
    History(seed, nonsense=nonsense).run(length)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), length=st.integers(1, 80))
def test_a_job_left_in_peace_reaches_its_target(seed, length):
    history = History(seed, nonsense=0.0, ends=False)
    history.run(length)
    history.settle()
    job = history.job
    if history.ended or job.starting_halted or job.awaited:
        return
    waiting = [f for f in job.formations if not f.complete]  # for entries that the history has lost to a death
    if not waiting:
        training = [worker for worker in job.members if job.state_of(worker) == "training"]
        assert len(training) == job.target
        assert len(job.members) == job.target
