"""Drives a JobMembership as its caller does, checking its invariants after every event."""

from __future__ import annotations

from typing import Any

from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.membership.state import JobMembership


class Driver:
    """Workers that do what they are told at once, unless a test says otherwise."""

    def __init__(
        self,
        start: int = 2,
        minimum: int = 1,
        target: int | None = None,
        shards: int = 8,
        resume: bool = False,
    ) -> None:
        self.job = JobMembership(start=start, minimum=minimum, target=target, resume=resume)
        self.shards = shards
        self.said: list[ev.Decision] = []
        self._note(self.job.begin())

    def _note(self, decisions: list[ev.Decision]) -> list[ev.Decision]:
        self.job.invariants()
        self.said += decisions
        return decisions

    def hear(self, event: ev.MembershipEvent) -> list[ev.Decision]:
        return self._note(self.job.handle(event))

    def ready(self, *workers: str) -> list[ev.Decision]:
        said: list[ev.Decision] = []
        for name in workers:
            worker = WorkerId(name)
            said += self.hear(ev.WorkerConnected(worker, "127.0.0.1", 7000 + int(name[1:])))
            said += self.hear(ev.WorkerReadied(worker, self.shards))
        return said

    def enter(self, generation: int, *workers: str) -> list[ev.Decision]:
        return [d for w in workers for d in self.hear(ev.WorkerEntered(WorkerId(w), Generation(generation)))]

    def answer(
        self,
        generation: int,
        *,
        entered: int = 0,
        stateful: bool = True,
        who: tuple[str, ...],
        missing: dict[str, str] | None = None,
    ) -> list[Any]:
        """``missing``: for some of ``who``, the one that it does not reach."""
        said: list[Any] = []
        for w in who:
            lost = tuple(WorkerId(name) for name in [(missing or {}).get(w)] if name)
            event = ev.WorkerInterrupted(WorkerId(w), Generation(generation), stateful, Generation(entered), lost)
            said += self.hear(event)
        return said

    def gone(self, *workers: str) -> list[ev.Decision]:
        return [d for w in workers for d in self.hear(ev.WorkerGone(WorkerId(w)))]

    def leave(self, *workers: str) -> list[ev.Decision]:
        return [d for w in workers for d in self.hear(ev.WorkerAskedToLeave(WorkerId(w)))]

    def broke(
        self, generation: int, worker: str, *, unused: bool = False, peer: str | None = None, closed: bool = False
    ) -> list[ev.Decision]:
        lost = None if peer is None else WorkerId(peer)
        return self.hear(ev.GenerationBroke(WorkerId(worker), Generation(generation), unused, lost, closed))

    def ended(self, *workers: str) -> list[ev.Decision]:
        return [d for w in workers for d in self.hear(ev.WorkerEnded(WorkerId(w)))]

    def scale(self, target: int) -> list[ev.Decision]:
        return self.hear(ev.TargetChanged(target))

    @staticmethod
    def founded(size: int, minimum: int = 1, shards: int = 8) -> Driver:
        """A job that trains with workers w1..w<size> in generation 1."""
        driver = Driver(start=size, minimum=minimum, shards=shards)
        names = [f"w{n + 1}" for n in range(size)]
        driver.ready(*names)
        driver.enter(1, *names)
        return driver


def brief(decisions: list[ev.Decision]) -> list[tuple[Any, ...]]:
    """Decisions as short tuples."""
    short: list[tuple[Any, ...]] = []
    for decision in decisions:
        match decision:
            case ev.StartWorkerProcess():
                short.append(("start", decision.worker))
            case ev.AnnounceGeneration():
                short.append((decision.kind, decision.generation, " ".join(p.worker for p in decision.members)))
            case ev.InterruptGeneration():
                short.append(("interrupt", decision.generation, " ".join(decision.to)))
            case ev.AskToStop():
                short.append(("stop", " ".join(decision.to)))
            case ev.RetireWorker():
                short.append(("retire", decision.worker))
            case ev.ExpelWorker():
                short.append(("expel", decision.worker))
            case ev.FindState():
                short.append(("find",))
            case ev.EndJob():
                short.append(("end", decision.outcome))
    return short
