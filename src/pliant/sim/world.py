"""One simulated job from its start to its end: coordinator, agent, workers, faults and the referee."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.membership.restart_plan import MAX_FRUITLESS, Restarts
from pliant.membership.state import JobMembership
from pliant.sim.engine import Engine
from pliant.sim.ledger import Kept, Ledger, ViolationError
from pliant.sim.network import Control, Mesh
from pliant.sim.scenario import Fault, Scenario
from pliant.sim.worker import SimWorker

SILENT_S = 10.0
"""A worker from which nothing comes for so long is given up."""
NO_CHECKPOINT = "there is no checkpoint to go on from"
MOST_HAPPENINGS = 60_000
"""No job of a scenario needs nearly as many: beyond, it goes round in circles."""


@dataclass(frozen=True)
class Result:
    """How a simulated job ended."""

    outcome: ev.Outcome
    reason: str
    passes: int
    generations: int
    happenings: int
    faults: int
    """Faults that found somebody to hit."""
    uneven: int
    """Passes that a worker began with a deal by speed."""
    restarts: int
    """How often the job went on from a checkpoint."""


class World:
    """Everything of one simulation. Call :meth:`run` once."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.rng = random.Random(scenario.seed * 2 + 1)
        self.engine = Engine()
        self.mesh = Mesh(self.engine, rng=self.rng)
        self.control = Control(self.engine, rng=self.rng, scenario=scenario)
        self.ledgers: dict[int, Ledger] = {}
        """One for each founding: there may be another one while nobody knows that the first had come about."""
        self._begun: set[int] = set()
        """Foundings after which a pass was committed."""
        self._founding = 0
        self.workers: dict[WorkerId, SimWorker] = {}
        self.membership = self._new_membership()
        self._journal: list[ev.MembershipEvent] = []
        self._down = 0
        self._held: deque[ev.MembershipEvent] = deque()
        self.trace: deque[str] = deque(maxlen=400)
        self._end: ev.EndJob | None = None
        self._retired: set[WorkerId] = set()
        self._given_up: set[WorkerId] = set()
        """Workers that were silent for too long."""
        self._faults = self._ambushes = self._uneven = self._resumed = 0
        self._announced = 0
        self._restarts = Restarts()
        self._kept: Kept | None = None
        """The newest checkpoint."""
        self._restore: Kept | None = None

    def run(self) -> Result:
        """Simulate the job.

        Raises:
            ViolationError: naming the seed and what happened last.
        """
        try:
            for fault in self.scenario.faults:
                self.engine.at(fault.at_s, self._strike, fault)
            self._carry_out(self.membership.begin())
            if not self.engine.run(until=lambda: self._end is not None, most=MOST_HAPPENINGS):
                raise ViolationError(f"the job never ends: {self._standing()}")
            return self._judge()
        except Exception as error:
            last = "\n  ".join(self.trace)
            raise ViolationError(f"seed {self.scenario.seed}: {error!r}\n{self.scenario}\n  {last}") from error

    # ------------------------------------------------------------------ coordinator and agent

    def tell(self, worker: WorkerId, event: ev.MembershipEvent) -> None:
        """Send an event over the worker's connection."""
        self.control.send(f"up {worker}", self._on_event, event)

    def exited(self, worker: WorkerId) -> None:
        """The agent sees that the process is gone; all that it had sent is heard before (if nothing is reordered)."""
        self.note(f"{worker} is gone")
        self.control.send(f"up {worker}", self._on_event, ev.WorkerGone(worker))

    def ledger_of(self, founded: int) -> Ledger:
        """The referee's books of the job that was founded in this generation."""
        return self.ledgers.setdefault(founded, Ledger(shards=self.scenario.shards))

    def committed(self, worker: WorkerId, founded: int) -> None:
        """A worker has committed a pass of that job; from one that was given up nobody hears of it."""
        if self._restore is not None and founded > self._restore.founded:
            raise ViolationError("the job began again although there is a checkpoint")
        if worker not in self._given_up:
            self._begun.add(founded)

    def switched(self) -> None:
        """Spring an ambush: somebody dies around the moment at which the workers switch."""
        if self._ambushes:
            self._ambushes -= 1
            self.engine.after(self.rng.uniform(0.0, 4.0), self._strike, Fault(self.engine.now, "kill"))

    def dealt(self, *, takes: tuple[int, ...]) -> None:
        """Count deals that are not even."""
        self._uneven += max(takes) - min(takes) > 1

    def note(self, text: str) -> None:
        """Remember for the story told on a failure."""
        self.trace.append(f"{self.engine.now:7.2f} {text}")

    def _on_event(self, event: ev.MembershipEvent) -> None:
        if self._down or self._held:
            self._held.append(event)
        elif self._end is None:
            self.note(f"event {event}")
            self._journal.append(event)
            self._carry_out(self.membership.handle(event))

    # ------------------------------------------------------------------ the coordinator's death

    def _new_membership(self) -> JobMembership:
        scenario = self.scenario
        return JobMembership(start=scenario.start, minimum=scenario.minimum, target=scenario.target)

    def _kill_coordinator(self) -> None:
        """It dies, and another one replays its journal; workers and agent find it and say hello again."""
        self.control.cut()
        self._down += 1
        away_s = self.rng.uniform(0.2, 6.0)
        self.membership = self._new_membership()
        self.membership.begin()
        for event in self._journal:
            self.membership.handle(event)
        self.engine.after(away_s, self._come_back)
        for worker in self.workers.values():
            self.engine.after(away_s + self.rng.random() * 2, self._say_hello, worker)

    def _come_back(self) -> None:
        """What was said meanwhile is said again, in its order."""
        self._down -= 1
        held, self._held = self._held, deque()
        for event in held:
            self._on_event(event)

    def _say_hello(self, worker: SimWorker) -> None:
        if worker.later(self._say_hello, worker) or not worker.alive:
            return
        if worker.worker in self._given_up:
            self._send(worker.worker, ev.RetireWorker(worker.worker, "it was silent"))
        else:
            generation, stateful = Generation(worker.entered), worker.main.stateful
            self.tell(worker.worker, ev.WorkerConnected(worker.worker, "127.0.0.1", 1, generation, stateful))

    def _carry_out(self, decisions: list[ev.Decision]) -> None:
        self.membership.invariants()
        for decision in decisions:
            self.note(f"    -> {decision}")
            if self._end is not None:
                raise ViolationError(f"{decision} after the end of the job")
            match decision:
                case ev.StartWorkerProcess():
                    self.engine.after(self.rng.uniform(0.1, 2.0), self._start, decision.worker)
                case ev.AnnounceGeneration() | ev.InterruptGeneration() | ev.AskToStop():
                    self._check_founding(decision)
                    for worker in decision.to:
                        self._send(worker, decision)
                case ev.RetireWorker() | ev.ExpelWorker():
                    self._retired.add(decision.worker)
                    self._send(decision.worker, decision)
                case ev.FindState():
                    self.engine.after(self.rng.uniform(0.1, 3.0), self._find_state)
                case ev.EndJob():
                    self._end = decision

    def _send(self, worker: WorkerId, decision: ev.Decision) -> None:
        if worker in self.workers:
            self.control.command(worker, self.workers[worker].on_decision, decision)
        else:
            # Not connected yet: it is told when it says hello. A retired process exits then.
            self.engine.after(2.5, self._send, worker, decision)

    def may_keep(self, worker: SimWorker, state: Kept) -> None:
        """The main worker has committed: it leaves a checkpoint, a little later, if one is due and it lives so long."""
        every = self.scenario.checkpoint_every
        if every and state.passes % every == 0:
            self.engine.after(self.rng.uniform(0.0, 3.0), self._keep, worker, state)

    def _keep(self, worker: SimWorker, state: Kept) -> None:
        if worker.alive and (self._kept is None or self._kept.passes < state.passes):
            self.note(f"checkpoint after {state.passes} passes by {worker.worker}")
            self._kept = state

    def _find_state(self) -> None:
        if self._end is not None:
            return
        if any(worker.alive and worker.worker in self._given_up for worker in self.workers.values()):
            # Who was given up may train on with its like until it hears of it, or is killed.
            self.engine.after(1.0, self._find_state)
            return
        alive = [each for worker, each in self.workers.items() if each.alive and worker not in self._retired]
        holders = [each.worker for each in alive if each.main.stateful]
        if holders:
            raise ViolationError(f"the job goes back to a checkpoint although {holders} hold its state")
        if self._kept is None or not self._restarts.allow(self.ledger_of(self._kept.founded).furthest):
            self._on_event(ev.StateMissing(NO_CHECKPOINT))
            return
        self._restore = self._kept
        self._resumed += 1
        self._on_event(ev.StateFound())

    def _start(self, worker: WorkerId) -> None:
        process = SimWorker(worker, world=self, restore=self._restore)
        self.workers[worker] = self.mesh.nodes[worker] = process
        process.start()

    # ------------------------------------------------------------------ faults

    def _strike(self, fault: Fault) -> None:
        alive = [worker for worker in self.workers.values() if worker.alive and worker.worker not in self._retired]
        members = [worker for worker in alive if worker.main.stateful]
        newcomers = [worker for worker in alive if not worker.main.stateful]
        self._faults += 1
        self.note(f"fault {fault.kind}")
        if fault.kind == "kill" and alive:
            self.rng.choice(alive).exit(cleanly=False)
        elif fault.kind == "kill_newcomer" and newcomers:
            self.rng.choice(newcomers).exit(cleanly=False)
        elif fault.kind == "kill_all_but_one" and len(members) > 1:
            for worker in self.rng.sample(members, len(members) - 1):
                worker.exit(cleanly=False)
        elif fault.kind == "kill_all" and alive:
            for worker in alive:
                worker.exit(cleanly=False)
        elif fault.kind == "leave" and alive:
            self.rng.choice(alive).ask_to_leave()
        elif fault.kind == "scale":
            target = self.rng.randint(self.scenario.minimum, self.scenario.maximum)
            self._on_event(ev.TargetChanged(target))
        elif fault.kind == "cut" and len(alive) > 1:
            one, other = self.rng.sample(alive, 2)
            one.cut(other.worker)
            other.cut(one.worker)
        elif fault.kind == "wall" and len(alive) > 1:
            one, other = self.rng.sample(alive, 2)
            self.mesh.wall(one.worker, other.worker)
            one.wall(other.worker)
            other.wall(one.worker)
        elif fault.kind == "freeze" and any(not worker.frozen for worker in alive):
            self._freeze(self.rng.choice([worker for worker in alive if not worker.frozen]))
        elif fault.kind == "ambush":
            self._ambushes += 1
            self._faults -= 1  # counted when it springs
        elif fault.kind == "coordinator" and self._end is None:
            self._kill_coordinator()
        elif fault.kind == "stop":
            self._on_event(ev.StopAsked())
        else:
            self._faults -= 1

    def _freeze(self, worker: SimWorker) -> None:
        worker.freeze()
        self.engine.after(SILENT_S, self._give_up, worker)
        if self.rng.random() < 0.7:
            self.engine.after(self.rng.uniform(0.5, 2.5 * SILENT_S), worker.thaw)

    def _give_up(self, worker: SimWorker) -> None:
        """What the coordinator does about silence: the worker counts as gone; if it does not wake it is killed."""
        if not worker.frozen or not worker.alive or worker.worker in self._retired:
            return
        self.note(f"{worker.worker} is silent and given up")
        self._retired.add(worker.worker)
        self._given_up.add(worker.worker)
        self.control.send(f"up {worker.worker}", self._on_event, ev.WorkerGone(worker.worker))
        self._send(worker.worker, ev.RetireWorker(worker.worker, "it was silent"))
        self.engine.after(SILENT_S, worker.exit_if_frozen)

    # ------------------------------------------------------------------ referee

    def _check_founding(self, decision: ev.Decision) -> None:
        if not isinstance(decision, ev.AnnounceGeneration) or decision.generation <= self._announced:
            return  # said again to a worker that may have missed it
        self._announced = int(decision.generation)
        if decision.kind == "founding":
            alive = [worker for worker in self.workers.values() if worker.alive]
            if any(worker.main.stateful and worker.worker not in self._given_up for worker in alive):
                raise ViolationError("a second founding although a living worker holds the state")
            if self._restore is not None:
                self._founding = self._restore.founded  # the ledger goes on: what is done again must come out the same
                return
            if self.scenario.control_fifo and self._begun:
                raise ViolationError("the job begins again although the coordinator knows that it had begun")
            self._founding = int(decision.generation)

    def _judge(self) -> Result:
        end = self._end
        if end is None:
            raise ViolationError("the job has not ended")
        alive = [worker for worker in self.workers.values() if worker.alive and worker.worker not in self._retired]
        # Who had entered an earlier founding, and was gone before the coordinator heard of it, lived in another job.
        heard = [worker for worker in self.workers.values() if worker.main.founded == self._founding]
        ended = [worker.main for worker in heard if worker.main.phase == "ended"]
        passes = max((main.passes for main in ended), default=0)
        if end.outcome == "finished" and (not ended or passes != self.scenario.passes):
            raise ViolationError(f"finished after {passes} of {self.scenario.passes} passes")
        if len({(main.passes, main.weights) for main in ended}) > 1:
            raise ViolationError("workers ended with different weights")
        if end.outcome == "failed-lost" and any(worker.main.stateful for worker in alive):
            raise ViolationError(f"given up although a living worker holds the state: {end.reason}")
        if end.reason == NO_CHECKPOINT and self._kept and self._restarts.fruitless < MAX_FRUITLESS:
            raise ViolationError("given up although there is a checkpoint")
        if end.outcome in ("failed-script", "failed-config"):
            raise ViolationError(f"nothing in the scenario explains {end}")
        if end.outcome == "stopped" and not any(fault.kind == "stop" for fault in self.scenario.faults):
            raise ViolationError("stopped although nobody asked")
        return Result(
            end.outcome,
            end.reason,
            passes=passes,
            generations=int(self.membership.generation),
            happenings=self.engine.happened,
            faults=self._faults,
            uneven=self._uneven,
            restarts=self._resumed,
        )

    def _standing(self) -> str:
        return "; ".join(
            f"{worker.worker} {worker.main.phase} after {worker.main.passes} passes, "
            f"{self.membership.state_of(worker.worker)}"
            for worker in self.workers.values()
            if worker.alive
        )


def simulate(seed: int) -> Result:
    """Run the scenario with this number; the same seed always does the same.

    Raises:
        ViolationError: the protocol did something that must never happen. The message tells the seed and the story.
    """
    return World(Scenario.from_seed(seed)).run()
