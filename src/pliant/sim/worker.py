"""A simulated worker's control thread: it answers the coordinator at any time, whatever the main thread does."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.sim.engine import Engine
from pliant.sim.group import Group
from pliant.sim.ledger import Kept, Ledger
from pliant.sim.network import Mesh
from pliant.sim.scenario import Scenario
from pliant.sim.training import MainThread

LINK_S = 8.0
"""A link that carries nothing is found after at most so long; so is a peer that does not come to a new group."""


class Surroundings(Protocol):
    """What a worker is given by the simulation."""

    engine: Engine
    mesh: Mesh
    rng: random.Random
    scenario: Scenario

    def tell(self, worker: WorkerId, event: ev.MembershipEvent) -> None:
        """Send an event to the coordinator."""

    def ledger_of(self, founded: int) -> Ledger:
        """The referee's books of the job that was founded in this generation."""

    def committed(self, worker: WorkerId, founded: int) -> None:
        """A worker has committed a pass of that job."""

    def may_keep(self, worker: SimWorker, state: Kept) -> None:
        """The main worker has committed: a checkpoint may be due."""

    def switched(self) -> None:
        """A worker has moved from one generation to the next."""

    def dealt(self, *, takes: tuple[int, ...]) -> None:
        """A worker begins a pass with so many shards at each rank."""

    def exited(self, worker: WorkerId) -> None:
        """The process is gone."""


class SimWorker:
    """One worker process."""

    def __init__(self, worker: WorkerId, *, world: Surroundings, restore: Kept | None = None) -> None:
        """``restore``: the checkpoint that it begins from if it founds the job at rank 0."""
        self.worker = worker
        self.restore = restore
        self.world = world
        self.alive = True
        self.slowness = world.scenario.slowness_of(worker)
        self.stopping = False
        self.next: Group | None = None
        """The group of a founding or recovery generation, or a newcomer's planned one: to be used when it stands."""
        self.planned: Group | None = None
        """The group that may follow the one in use."""
        self.entered = 0
        self._interrupted_through = 0
        self._newest = 0
        self._groups: dict[int, Group] = {}
        self._early: dict[int, list[tuple[WorkerId, str, int, Any]]] = {}
        self._dead: set[WorkerId] = set()
        self._formed_s: dict[int, float] = {}
        self._frozen = False
        self._backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.main = MainThread(self)

    def start(self) -> None:
        """The process runs: connect now, be ready after imports and rehearsal."""
        self.world.tell(self.worker, ev.WorkerConnected(self.worker, "127.0.0.1", 1))
        self.world.engine.after(self.world.rng.uniform(0.5, 6.0), self._be_ready)

    def _be_ready(self) -> None:
        if self.later(self._be_ready):
            return
        if self.alive:
            self.world.tell(self.worker, ev.WorkerReadied(self.worker, shards=self.world.scenario.shards))

    def exit(self, *, cleanly: bool) -> None:
        """The process ends, of its own or by SIGKILL."""
        if self.alive:
            self.alive = False
            self.world.mesh.die(self.worker, cleanly=cleanly)
            self.world.exited(self.worker)

    def ask_to_leave(self) -> None:
        """SIGTERM."""
        self.world.tell(self.worker, ev.WorkerAskedToLeave(self.worker))

    # ------------------------------------------------------------------ standing still

    def freeze(self) -> None:
        """SIGSTOP: what arrives waits."""
        self._frozen = True

    def thaw(self) -> None:
        """SIGCONT: whatever has waited is handled, in order."""
        self._frozen = False
        while self._backlog and not self._frozen:
            call, args = self._backlog.pop(0)
            call(*args)

    def exit_if_frozen(self) -> None:
        """SIGKILL to one that has not woken up."""
        if self._frozen:
            self.exit(cleanly=False)

    @property
    def frozen(self) -> bool:
        """It stands still."""
        return self._frozen

    def later(self, call: Callable[..., None], *args: Any) -> bool:
        """Whether this worker is frozen; ``call`` is made when it thaws, then."""
        if self._frozen:
            self._backlog.append((call, args))
        return self._frozen

    # ------------------------------------------------------------------ from the coordinator

    def on_decision(self, decision: ev.Decision) -> None:
        """A message of the coordinator has arrived."""
        if self.later(self.on_decision, decision) or not self.alive:
            return
        match decision:
            case ev.AnnounceGeneration():
                self._on_form(decision)
            case ev.InterruptGeneration():
                self._on_interrupt(int(decision.generation))
            case ev.AskToStop():
                self.stopping = True
            case ev.RetireWorker() | ev.ExpelWorker():
                self.exit(cleanly=True)
            case _:
                raise AssertionError(f"not a message for workers: {decision}")
        self.main.advance()

    def _on_form(self, announced: ev.AnnounceGeneration) -> None:
        generation = int(announced.generation)
        if generation <= max(self._newest, self._interrupted_through):
            self._refuse(generation)
            return
        self._newest = generation
        group = self._groups[generation] = Group(announced, me=self.worker)
        self._formed_s[generation] = self.world.engine.now
        for peer in self._dead.intersection(group.members):
            group.close(peer)
        for peer in () if group.leaving else group.peers:
            if self.world.mesh.walled(self.worker, peer):
                self._notice(group, peer)
        if announced.kind == "planned" and self.main.stateful:
            self._drop(self.planned)
            self.planned = group
        else:
            self._drop(self.next)
            self._drop(self.planned)
            self.planned, self.next = None, group
        for peer in () if group.leaving else group.peers:
            self.send(group, peer, "hello")
        for early in self._early.pop(generation, []):
            self._put(group, *early)

    def _on_interrupt(self, generation: int) -> None:
        missing = self._missing(generation)
        if generation > self._interrupted_through:
            self._interrupted_through = generation
            for group in (self.main.group, self.next, self.planned):
                if group is not None and group.generation <= generation:
                    self.shut(group)
            if self.planned is not None and self.planned.shut:
                self.planned = None
            if self.next is not None and self.next.shut:
                self.next = None
        self.world.tell(
            self.worker,
            ev.WorkerInterrupted(
                self.worker, Generation(generation), self.main.stateful, Generation(self.entered), missing
            ),
        )

    def _missing(self, generation: int) -> tuple[WorkerId, ...]:
        group = self._groups.get(generation)
        if group is None or group.leaving:
            return ()
        if group.shut:
            return group.missing
        late = self.world.engine.now - self._formed_s[generation] > LINK_S / 4
        return tuple(sorted(group.unreachable | (group.unheard if late else set())))

    def _refuse(self, generation: int) -> None:
        """This generation is over here before it began: close it for those who have said hello."""
        if generation not in self._groups:
            for source, kind, _, _ in self._early.pop(generation, []):
                if kind != "close":
                    self.world.mesh.send(self.worker, source, (generation, "close", (0, None)))

    # ------------------------------------------------------------------ groups

    def send(self, group: Group, peer: WorkerId, kind: str, body: tuple[int, Any] = (0, None)) -> None:
        """Send a message to a member of the group."""
        self.world.mesh.send(self.worker, peer, (group.generation, kind, body))

    def shut(self, group: Group) -> None:
        """Close this end of the group."""
        if not group.shut:
            group.missing = self._missing(group.generation)
            group.shut = True
            for peer in () if group.leaving else group.peers:
                self.send(group, peer, "close")

    def _drop(self, group: Group | None) -> None:
        if group is not None:
            self.shut(group)

    def refuse_failed_plan(self) -> None:
        """A planned group has failed and was not promised in the pass in flight: it will never be used here."""
        planned = self.planned
        if planned is None or planned.leaving or not planned.failed:
            return
        if self.main.promised != planned.generation:
            self.planned = None
            self.shut(planned)
            self.report_broken(planned, unused=True)

    def report_broken(self, group: Group, *, unused: bool = False) -> None:
        """Tell the coordinator that a group broke or could not be formed."""
        peer, closed = group.to_blame
        self.world.tell(
            self.worker, ev.GenerationBroke(self.worker, Generation(group.generation), unused, peer, closed)
        )

    def cut(self, peer: WorkerId) -> None:
        """Fault: the connections of all groups to ``peer`` break while both live."""
        for group in (self.main.group, self.planned, self.next):
            if group is not None and not group.leaving:
                group.close(peer)
        self.refuse_failed_plan()
        self.main.advance()

    def wall(self, peer: WorkerId) -> None:
        """Fault: no byte comes from ``peer`` any more; after a while that is noticed, group by group."""
        for group in (self.main.group, self.planned, self.next):
            if group is not None and not group.leaving and peer in group.peers:
                self._notice(group, peer)

    def _notice(self, group: Group, peer: WorkerId) -> None:
        self.world.engine.after(LINK_S * self.world.rng.uniform(0.5, 1.0), self._lose, group, peer)

    def _lose(self, group: Group, peer: WorkerId) -> None:
        if self.later(self._lose, group, peer) or not self.alive or group.shut:
            return
        group.lose(peer)
        self.refuse_failed_plan()
        self.main.advance()

    # ------------------------------------------------------------------ from other workers

    def on_mesh(self, source: WorkerId, generation: int, kind: str, body: Any) -> None:
        """A message of a peer has arrived."""
        if self.later(self.on_mesh, source, generation, kind, body) or not self.alive:
            return
        group = self._groups.get(generation)
        if group is None:
            self._early.setdefault(generation, []).append((source, kind, *body))
            if generation <= max(self._newest, self._interrupted_through):
                self._refuse(generation)
            return
        self._put(group, source, kind, *body)
        self.main.advance()

    def _put(self, group: Group, source: WorkerId, kind: str, number: int, body: Any) -> None:
        if kind == "close":
            group.close(source)
            self.refuse_failed_plan()
        else:
            group.put(source, kind, number, body)

    def on_peer_gone(self, peer: WorkerId) -> None:
        """The connection to ``peer`` was reset or refused."""
        if self.later(self.on_peer_gone, peer) or not self.alive:
            return
        self._dead.add(peer)
        for group in self._groups.values():
            group.close(peer)
        self.refuse_failed_plan()
        self.main.advance()
