"""A simulated worker's main thread: the first exchange of a generation, then pass after pass, as in design 0001."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.membership.deal_plan import deal_shards
from pliant.membership.pace_plan import Dealer, PaceEstimate
from pliant.membership.sync_plan import SyncDecision, SyncReport, plan_sync
from pliant.sim.group import Group, GroupOverError
from pliant.sim.ledger import Content, Kept, ViolationError, next_weights, shard_gradient, tree_sum

if TYPE_CHECKING:
    from pliant.sim.worker import SimWorker

Phase = Literal["idle", "sync", "transfer", "compute", "post", "result", "ack", "left", "ended"]


@dataclass(frozen=True)
class Full:
    """The full gradient of a pass, with what its members said in it: one cannot be had without the other."""

    gradient: Content
    stop: bool
    switch_to: int
    paces: tuple[float, ...]
    """By rank."""


class MainThread:
    """What the training script does on one worker."""

    def __init__(self, control: SimWorker) -> None:
        self.control = control
        self.world = control.world
        self.phase: Phase = "idle"
        self.group: Group | None = None
        self.stateful = False
        self.passes = 0
        self.weights: Content = hash((12345, int(control.worker[1:])))
        self.founded = 0
        """The founding generation that its state comes from."""
        self.promised = 0
        """The planned generation that was said to stand in the pass in flight."""
        self._busy = False
        self._held: dict[int, Content] = {}
        self._full: Full | None = None
        self._todo: list[int] = []
        self._dealer = Dealer([0.0])
        self._estimate = PaceEstimate()
        self._times: list[float] = []
        """What the shards of the pass in flight took here."""
        self._decision: SyncDecision | None = None

    # ------------------------------------------------------------------ loop

    def advance(self) -> None:
        """Go on as far as possible; called whenever something has arrived."""
        while self.control.alive and not self._busy and self._step():
            pass

    def _step(self) -> bool:
        """One step of the present phase; False: something is awaited."""
        if self.phase in ("idle", "left"):
            return self._take_group()
        group = self.group
        if group is None:
            return False
        try:
            return bool(getattr(self, f"_{self.phase}")(group))
        except GroupOverError as over:
            if over.broke:
                self.control.report_broken(group)
                self.control.shut(group)
            self.phase, self.group = "idle", None
            return True

    def _take_group(self) -> bool:
        group = self.control.next
        if group is None or group.leaving:
            return False
        if group.failed:
            self.control.next = None
            self.control.shut(group)
            self.control.report_broken(group)
            return True
        if group.stands:
            self.control.next = None
            self._use(group)
            return True
        return False

    def _use(self, group: Group) -> None:
        self.phase, self.group, self.promised = "sync", group, 0
        self._todo = []
        if group.kind == "founding" and group.rank == 0 and self.control.restore is not None:
            self.passes, self.weights, self.founded = self.control.restore
        self._send_all(group, "sync", 0, self._report(group))

    def _report(self, group: Group) -> SyncReport:
        return SyncReport(
            self.control.worker,
            rank=group.rank,
            stateful=self.stateful,
            passes_done=self.passes,
            full=self._full is not None,
            held=tuple(self._held),
            pace=self._estimate.pace,
        )

    def _send_all(self, group: Group, kind: str, number: int, body: Any) -> None:
        for peer in group.peers:
            self.control.send(group, peer, kind, (number, body))

    # ------------------------------------------------------------------ first exchange

    def _sync(self, group: Group) -> bool:
        reports = group.gather("sync", 0)
        if reports is None:
            return False
        decision = plan_sync(
            [*reports.values(), self._report(group)],
            shards=self.world.scenario.shards,
            founding=group.kind == "founding",
            at_boundary=group.kind == "planned",
            newcomers_share=self.world.scenario.newcomers_share,
        )
        self._decision = decision
        stop = False
        if group.rank in decision.commit:
            stop = self._commit(group).stop
        if group.rank in decision.sources:
            if group.kind == "founding":
                self._found(group)
            for rank in decision.newcomers:
                self.control.send(group, group.members[rank], "state", (0, (self.passes, self.weights, self.founded)))
            self._enter(group, decision, stop=stop)
        else:
            self.phase = "transfer"
        return True

    def _found(self, group: Group) -> None:
        """Rank 0's state becomes the job's: a checkpoint's, whose job goes on, or its own initial one."""
        if self.control.restore is None:
            self.founded = group.generation
            self.world.ledger_of(self.founded).found(self.weights)
        else:
            self.world.ledger_of(self.founded).receive(self.control.worker, passes=self.passes, weights=self.weights)

    def _transfer(self, group: Group) -> bool:
        decision = self._decision
        if decision is None:
            raise ViolationError("state is awaited without a decision")
        sources: tuple[WorkerId, ...] = tuple(group.members[rank] for rank in decision.sources)
        parts = group.gather("state", 0, sources)
        if parts is None:
            return False
        if len(set(parts.values())) != 1:
            raise ViolationError(f"{self.control.worker} received parts of different states: {parts}")
        self.passes, self.weights, self.founded = next(iter(parts.values()))
        self.world.ledger_of(self.founded).receive(self.control.worker, passes=self.passes, weights=self.weights)
        self._held, self._full = {}, None
        self._enter(group, decision, stop=False)
        return True

    def _enter(self, group: Group, decision: SyncDecision, *, stop: bool) -> None:
        self.stateful = True
        self.control.entered = group.generation
        self.world.tell(self.control.worker, ev.WorkerEntered(self.control.worker, Generation(group.generation)))
        if self.passes != decision.in_flight:
            raise ViolationError(f"{self.control.worker} enters pass {decision.in_flight} after {self.passes}")
        self._dealer = Dealer(decision.paces)
        kept = decision.keep[group.rank]
        self._held = {shard: self._held[shard] for shard in kept}
        self._full = None
        if stop or self.passes >= self.world.scenario.passes:
            self._finish(group)
        else:
            self._start_pass(group, todo=decision.deal[group.rank])

    # ------------------------------------------------------------------ a pass

    def _start_pass(self, group: Group, *, todo: tuple[int, ...]) -> None:
        self.promised = 0
        self.control.refuse_failed_plan()
        self._todo = list(todo)
        self.phase = "compute"
        self._send_all(group, "pre", self.passes, (*self._held, *todo))

    def _compute(self, group: Group) -> bool:
        if group.shut:
            raise GroupOverError(broke=False)
        if self._todo:
            self._busy = True
            takes_s = self.world.rng.uniform(0.1, 1.0) * self.control.slowness
            self._times.append(takes_s)
            self.world.engine.after(takes_s, self._computed, self._todo.pop(0))
            return False
        planned = self.control.planned
        self.control.refuse_failed_plan()
        if planned is not None and planned is self.control.planned and (planned.leaving or planned.stands):
            self.promised = planned.generation
        # What counts is what was said to the others, not what is true by the time their messages are here.
        self._posted = (dict(self._held), self.promised, self.control.stopping, self._estimate.pace)
        self._send_all(group, "post", self.passes, self._posted)
        self.phase = "post"
        return True

    def _computed(self, shard: int) -> None:
        if self.control.later(self._computed, shard):
            return
        self._busy = False
        self._held[shard] = shard_gradient(self.weights, number=self.passes, shard=shard)
        self.advance()

    def _post(self, group: Group) -> bool:
        pres = group.gather("pre", self.passes)
        posts = group.gather("post", self.passes)
        if pres is None or posts is None:
            return False
        everything = [*posts.values(), self._posted]
        self.world.ledger_of(self.founded).check_pass((s for held, *_ in everything for s in held), number=self.passes)
        if any(sorted(pres[peer]) != sorted(posts[peer][0]) for peer in group.peers):
            raise ViolationError(f"pass {self.passes}: somebody computed other shards than it had said")
        gradients = {shard: gradient for held, *_ in everything for shard, gradient in held.items()}
        promises = {promise for _, promise, *_ in everything}
        self._pending = Full(
            tree_sum(gradients[shard] for shard in sorted(gradients)),
            stop=any(stop for _, _, stop, _ in everything),
            switch_to=promises.pop() if len(promises) == 1 else 0,
            paces=tuple((posts.get(worker) or self._posted)[3] for worker in group.members),
        )
        self._send_all(group, "result", self.passes, self._pending.gradient)
        self.phase = "result"
        return True

    def _result(self, group: Group) -> bool:
        results = group.gather("result", self.passes)
        if results is None:
            return False
        if any(result != self._pending.gradient for result in results.values()):
            raise ViolationError(f"pass {self.passes}: members reduced to different gradients")
        self._full = self._pending
        self._send_all(group, "ack", self.passes, None)
        self.phase = "ack"
        return True

    def _ack(self, group: Group) -> bool:
        if group.gather("ack", self.passes) is None:
            return False
        said = self._commit(group)
        over = said.stop or self.passes >= self.world.scenario.passes
        switch = said.switch_to and not said.stop and (self.world.scenario.switch_after_last or not over)
        if switch:
            self._switch(group, generation=said.switch_to)
        elif over:
            self._finish(group)
        else:
            shards = self.world.scenario.shards
            self._dealer.heard(said.paces, shards=shards)
            takes = self._dealer.takes(shards)
            deal = deal_shards(range(shards), takes=takes)
            self.world.dealt(takes=takes)
            self._start_pass(group, todo=deal[group.rank])
        return True

    def _commit(self, group: Group) -> Full:
        if self._full is None:
            raise ViolationError(f"{self.control.worker} commits pass {self.passes} without its gradient")
        full = self._full
        self.weights = next_weights(self.weights, full.gradient)
        self.passes += 1
        self._held, self._full = {}, None
        if self._times:
            self._estimate.measured(sum(self._times) / len(self._times))
        else:
            self._estimate.idle()
        self._times = []
        self.world.ledger_of(self.founded).commit(self.control.worker, passes=self.passes, weights=self.weights)
        self.world.committed(self.control.worker, self.founded)
        if group.rank == 0:
            self.world.may_keep(self.control, Kept(self.passes, self.weights, self.founded))
        return full

    def _switch(self, group: Group, *, generation: int) -> None:
        planned = self.control.planned
        if planned is None or planned.generation != generation:
            raise ViolationError(f"{self.control.worker} has to switch to generation {generation} without its group")
        self.control.planned = None
        self.control.shut(group)
        self.world.switched()
        if planned.leaving:
            self.phase, self.group, self.promised = "left", None, 0
        else:
            self._use(planned)

    def _finish(self, group: Group) -> None:
        self.phase, self.group = "ended", None
        self.control.shut(group)
        self.world.tell(self.control.worker, ev.WorkerEnded(self.control.worker))
