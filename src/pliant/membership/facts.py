"""What is known of one job's membership, and how each event changes that. The rules are in ``state.py``.

Each ``_on_...`` method first asks whether its event still means something (the worker is live, the generation is
the current or the announced one); wrong, late and repeated events change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pliant.errors import ConfigError
from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.membership.accusation_plan import Accusations
from pliant.membership.checks import check_invariants
from pliant.membership.roster import Formation, Roster, WorkerRecord
from pliant.membership.target_plan import MAX_EARLY_DEATHS, TargetPlan, plan_target

MAX_UNUSED = 3
"""A newcomer that so many planned generations could not reach is retired."""

WorkerState = Literal[
    "unknown", "starting", "ready", "joining", "training", "interrupted", "leaving", "ended", "retired", "gone"
]


@dataclass
class Interruption:
    """An interrupt that was sent, and whose answers are awaited."""

    generation: Generation
    awaited: set[WorkerId]


class JobFacts:
    """All that is known of one job. Base of :class:`~pliant.membership.state.JobMembership`."""

    def __init__(self, *, start: int, minimum: int, target: int | None = None, resume: bool = False) -> None:
        self.start = start
        self.minimum = minimum
        self.target = start if target is None else target
        """The number of workers wanted now."""
        if not 1 <= minimum <= min(start, self.target):
            raise ConfigError(
                f"minimum is {minimum}, start is {start}, target is {self.target}: "
                "minimum must be at least 1 and at most the other two"
            )
        self.shards: int | None = None
        """The script's V, from the first worker that is ready; no target may exceed it."""
        self.outcome: ev.Outcome | None = None
        """How the job ended; None while it runs."""
        self.stopping = False
        self.finding = resume
        """A checkpoint to begin from is being looked for."""
        self._roster = Roster()
        self._current: Formation | None = None
        self._planned: Formation | None = None
        self._interruption: Interruption | None = None
        self._dead: set[WorkerId] = set()
        self._broken = False
        self._founded = False
        self._any_ended = False
        self._last_number = Generation(0)
        self._leave_requests = 0
        self._readied = 0
        """Workers that have ever been ready."""
        self._early_deaths: list[WorkerId] = []
        self._broken_in_a_row = 0
        self._accusations = Accusations()

    # ------------------------------------------------------------------ views

    @property
    def generation(self) -> Generation:
        """Number of the newest generation that all its members entered or were ordered into; 0 before the first."""
        return self._current.generation if self._current else Generation(0)

    @property
    def members(self) -> tuple[WorkerId, ...]:
        """Members of :attr:`generation` in rank order."""
        return self._current.members if self._current else ()

    @property
    def formations(self) -> tuple[Formation, ...]:
        """The current generation and, if one is announced, the planned one after it."""
        return tuple(formation for formation in (self._current, self._planned) if formation)

    @property
    def awaited(self) -> frozenset[WorkerId]:
        """Workers whose answer to an interrupt is missing. The caller kills one that takes too long."""
        return frozenset(self._interruption.awaited) if self._interruption else frozenset()

    @property
    def starting_halted(self) -> bool:
        """No replacement is started any more, because the last few died before they were ready."""
        return len(self._early_deaths) >= MAX_EARLY_DEATHS

    def state_of(self, worker: WorkerId) -> WorkerState:
        """One word for the status."""
        record = self._roster.get(worker)
        if record is None:
            return "unknown"
        for state in ("gone", "ended", "retired"):
            if getattr(record, state):
                return state
        if self._current and worker in self._current:
            if self._interruption:
                return "interrupted"
            if worker in self._target_plan().departing or (self._planned and worker not in self._planned):
                return "leaving"
            return "training" if worker in self._current.entered else "joining"
        if self._planned and worker in self._planned:
            return "joining"
        return "ready" if record.ready else "starting"

    def invariants(self) -> None:
        """Raise AssertionError if the state contradicts itself. Tests and the simulator call it after every event."""
        check_invariants(
            self._roster,
            current=self._current,
            planned=self._planned,
            awaited=self._interruption.awaited if self._interruption else None,
            over=self.outcome is not None or self._any_ended,
        )

    # ------------------------------------------------------------------ events

    def _hear(self, event: ev.MembershipEvent, record: WorkerRecord) -> list[ev.Decision]:
        said: list[ev.Decision] = []
        match event:
            case ev.WorkerGone():
                self._on_gone(record)
            case ev.WorkerScriptFailed() if not record.retired:
                said = self._end_job("failed-script", f"the script raised an exception on {record.worker}")
            case ev.WorkersDiverged() if not record.retired:
                said = self._end_job("failed-diverged", "workers that must agree bit for bit do not")
            case _ if not record.live:
                pass
            case ev.WorkerConnected():
                said = self._on_connected(record, event)
            case ev.WorkerReadied():
                said = self._on_readied(record, event)
            case ev.WorkerEntered():
                said = self._on_entered(record, event)
            case ev.WorkerInterrupted():
                self._on_interrupted(record, event)
            case ev.GenerationBroke():
                said = self._on_broke(record, event)
            case ev.WorkerAskedToLeave():
                self._on_asked_to_leave(record)
            case ev.WorkerEnded():
                said = self._on_ended(record)
            case _:
                pass
        return said

    def _on_connected(self, record: WorkerRecord, event: ev.WorkerConnected) -> list[ev.Decision]:
        """Note the address, and say again what this worker may have missed while its connection was down."""
        again = record.connected
        record.host, record.port, record.connected = event.host, event.port, True
        if not again:
            return []
        said: list[ev.Decision] = []
        worker = record.worker
        if self._interruption is not None:
            if worker in self._interruption.awaited:
                said.append(ev.InterruptGeneration(self._interruption.generation, to=(worker,)))
        else:
            said += [
                formation.announcement(to=(worker,))
                for formation in self.formations
                if worker in formation.to and worker not in formation.entered
            ]
        if self.stopping and any(worker in formation for formation in self.formations):
            said.append(ev.AskToStop(to=(worker,)))
        return said

    def _on_readied(self, record: WorkerRecord, event: ev.WorkerReadied) -> list[ev.Decision]:
        self._readied += not record.readied
        record.readied = True
        self._early_deaths.clear()
        if self.shards is not None:
            return []
        self.shards = event.shards
        wanted = max(self.start, self.target)
        if self._founded or wanted <= event.shards:
            return []
        extra = wanted - event.shards
        return self._end_job(
            "failed-config",
            f"{wanted} workers are asked for, but the script's loader has {event.shards} shards: {extra} of the "
            f"workers would hold no shard and do nothing. Ask for at most {event.shards} workers, or write "
            f"shards={wanted} or more into the loader (which is another recipe, with other weights).",
        )

    def _on_entered(self, record: WorkerRecord, event: ev.WorkerEntered) -> list[ev.Decision]:
        for formation in self.formations:
            if formation.generation == event.generation and record.worker in formation:
                record.stateful = self._founded = True
                formation.entered.add(record.worker)
        if self._interruption is not None:
            return []
        if self._planned is not None and self._planned.complete:
            return self._switch(self._planned)
        if self._current is not None and self._current.complete:
            self._broken_in_a_row = 0
        return []

    def _switch(self, planned: Formation) -> list[ev.Decision]:
        """The planned generation is entered by all: those it left out are not needed any more."""
        left_out = [] if self._current is None else [w for w in self._current.members if w not in planned]
        self._current, self._planned = planned, None
        self._accusations.forget()
        return self._retire(self._roster.only_live(left_out), f"left out of generation {planned.generation}")

    def _on_interrupted(self, record: WorkerRecord, event: ev.WorkerInterrupted) -> None:
        interruption = self._interruption
        if interruption is None or event.generation != interruption.generation:
            return
        if event.stateful:
            record.stateful = self._founded = True
        for formation in self.formations:
            if formation.generation == event.entered and record.worker in formation:
                formation.entered.add(record.worker)
        for peer in event.missing:
            self._accusations.add(record.worker, peer, sure=True)
        interruption.awaited.discard(record.worker)

    def _on_broke(self, record: WorkerRecord, event: ev.GenerationBroke) -> list[ev.Decision]:
        known = any(event.generation == f.generation and record.worker in f for f in self.formations)
        if event.peer is not None and known and not event.unused:
            self._accusations.add(record.worker, event.peer, sure=not event.closed)
        if self._interruption is not None:
            return []
        planned, current, worker = self._planned, self._current, record.worker
        entered = self._anyone_switched()
        if planned is not None and event.generation == planned.generation:
            carrier = current is not None and worker in current and worker in planned
            newcomers = [w for w in planned.members if current is None or w not in current]
            if event.unused and carrier and newcomers and not entered:
                return self._drop_planned(newcomers)
            # A newcomer's word proves nothing about the others; one of the carriers will report.
            self._broken = self._broken or carrier or (entered and worker in planned)
        elif current is not None and event.generation == current.generation:
            self._broken = self._broken or (worker in current and not entered)
        return []

    def _anyone_switched(self) -> bool:
        """A live worker has entered the planned generation, so everybody in it has left the current one."""
        return self._planned is not None and any(self._roster[worker].live for worker in self._planned.entered)

    def _drop_planned(self, newcomers: Sequence[WorkerId]) -> list[ev.Decision]:
        """Nobody has switched to the planned generation or ever will: forget it."""
        self._planned = None
        for worker in newcomers:
            self._roster[worker].unused_generations += 1
        unreachable = [w for w in newcomers if self._roster[w].unused_generations >= MAX_UNUSED]
        reason = f"the others could not reach it for {MAX_UNUSED} generations"
        return self._retire(self._roster.only_live(unreachable), reason)

    def _on_gone(self, record: WorkerRecord) -> None:
        if not (record.readied or record.retired or record.gone):
            self._early_deaths.append(record.worker)
        record.gone = True
        self._dead.add(record.worker)
        if self._interruption is not None:
            self._interruption.awaited.discard(record.worker)

    def _on_asked_to_leave(self, record: WorkerRecord) -> None:
        if record.asked_to_leave:
            return
        plan = self._target_plan()
        left_out = self._planned is not None and record.worker not in self._planned and record.worker in self.members
        if not left_out and record.worker not in plan.departing:
            self.target = max(self.minimum, self.target - 1)
        self._leave_requests += 1
        record.asked_to_leave = self._leave_requests

    def _on_target(self, event: ev.TargetChanged) -> None:
        most = event.target if self.shards is None else self.shards
        if not self.minimum <= event.target <= most:
            raise ConfigError(
                f"{event.target} workers are asked for, but the job has at least {self.minimum} and at most {most}"
                + ("" if self.shards is None else " (its number of shards)")
            )
        self.target = event.target
        self._early_deaths.clear()

    def _on_stop(self) -> list[ev.Decision]:
        if self.stopping:
            return []
        self.stopping = True
        members = dict.fromkeys(worker for formation in self.formations for worker in formation.members)
        to = tuple(self._roster.only_live(members))
        return [ev.AskToStop(to)] if to else []

    def _on_ended(self, record: WorkerRecord) -> list[ev.Decision]:
        if not any(record.worker in formation for formation in self.formations):
            return []  # only members run the script to its end
        record.ended = self._any_ended = True
        if self._interruption is not None:
            self._interruption.awaited.discard(record.worker)
        current = self._current
        if current is not None and record.worker in current and record.worker not in current.entered:
            self._broken = True  # the others wait for it there, in vain
        return [ev.RetireWorker(record.worker, "the script has ended here")]

    # ------------------------------------------------------------------ helpers

    def _wanted(self) -> int:
        return self.target if self._founded else min(self.start, self.target)

    def _target_plan(self) -> TargetPlan:
        return plan_target(self._roster.live(), wanted=self._wanted(), current=self._current, planned=self._planned)

    def _retire(self, workers: Sequence[WorkerId], reason: str) -> list[ev.Decision]:
        for worker in workers:
            self._roster[worker].retired = True
        return [ev.RetireWorker(worker, reason) for worker in workers]

    def _end_job(self, outcome: ev.Outcome, reason: str) -> list[ev.Decision]:
        self.outcome = outcome
        return [ev.EndJob(outcome, reason)]
