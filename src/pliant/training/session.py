"""A worker's place in a job: its position, its generation, and the moves between generations.

Theory of operation. Work is done in *passes* (a reduction of gradients, or an evaluation), each a small transaction.
Between two steps lies a
*boundary*, where planned changes take effect. A lost peer may be noticed anywhere; it is handled where the worker next
needs the others: in the reduction of a pass, or at a boundary. Both places call ``recover``, which waits for the next
generation, compares standings with its members (``sync``), and says whether the pass in flight is to be committed or
finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, cast

from pliant.comm.base import Group
from pliant.comm.mesh import MeshGroup
from pliant.errors import ConnectionLostError, GenerationOverError, StateError
from pliant.membership.deal_plan import deal_shards
from pliant.membership.pace_plan import Dealer
from pliant.parallel.pass_messages import Flags
from pliant.training.crew import Crew
from pliant.training.pace import PaceMeter
from pliant.training.position import Position
from pliant.training.sync import Standing, Synced, synchronize
from pliant.transfer.capture import capture, restore
from pliant.transfer.checkpoint_load import load_checkpoint
from pliant.transfer.spec import Encoded, decode, encode
from pliant.wire.messages import GenerationEntered, GenerationKind, WorkerReady


class JobStopped(SystemExit):
    """Raised in the script at a boundary when this worker's part is over: the job stops, or the worker leaves."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(0)


class Attempt(Protocol):
    """A pass in flight, as far as recovery is concerned."""

    @property
    def held(self) -> list[int]:
        """Shards whose results are kept here."""
        ...

    @property
    def full(self) -> bool:
        """Everybody's results are here."""
        ...

    @property
    def shards(self) -> int:
        """V of this pass."""
        ...

    def restart(self) -> None:
        """Forget all shards."""
        ...


class Elsewhere(Protocol):
    """Some of the state of what is tracked is not in this process."""

    def as_it_is(self) -> AbstractContextManager[None]:
        """Within, ``state_dict`` gives what is here."""
        ...


class Session:
    """Main thread only."""

    def __init__(self, crew: Crew, tracked: Mapping[str, object]) -> None:
        self.crew, self.tracked = crew, tracked
        self.position = Position()
        self.rank, self.size = 0, 1
        self.agreed = 0
        """Planned generation to switch to at the next boundary."""
        self.stopping = False
        self.leaving = False
        """This worker's part is over: the script is being left."""
        self.on_new_group: list[Callable[[], None]] = []
        self.meter = PaceMeter()
        self.served: Elsewhere | None = None
        """Parameter servers hold the optimizers' state."""
        self.on_stop: list[Callable[[], None]] = []
        """Called at the boundary where the job stops, before the script is left."""
        self.restored_step = -1
        """Where the checkpoint stood that the job began from, on the worker that read it."""
        self._deals: dict[int, list[int]] = {}
        self._pending: Mapping[str, Any] | None = None
        if crew.stateful:
            group = crew.group()
            self.rank, self.size = group.rank, group.size
        self._dealer = Dealer([0.0] * self.size)
        self._first_pass = 0
        """Of the current generation; what was said in earlier passes is about other ranks."""

    @property
    def is_main(self) -> bool:
        """Rank 0 of the current generation, and a full member."""
        return self.rank == 0 and self.crew.stateful

    def worker_of(self, rank: int) -> str:
        """The worker at ``rank`` of the generation in use, as people know it."""
        workers = self.crew.workers
        return workers[rank] if rank < len(workers) else f"rank {rank}"

    def stand(self, rank: int, size: int) -> None:
        """In the generation in use."""
        self.rank, self.size = rank, size

    def usable_group(self) -> Group | None:
        """The current group; None if it was interrupted."""
        try:
            with self._noting_the_end():
                return self.crew.group()
        except GenerationOverError:
            return None

    def dealt(self, number: int, shards: int) -> list[int]:
        """Shards that this worker has to compute now in pass ``number``."""
        found = self._deals.pop(number, None)
        if found is not None:
            return found
        return list(deal_shards(range(shards), takes=self._dealer.takes(shards))[self.rank])

    @property
    def pace(self) -> float:
        """What to tell the others of this worker's speed; 0 if it is unknown, or if shards are dealt evenly."""
        return self.meter.pace if self.crew.deals_by_speed else 0.0

    def note_paces(self, flags: list[Flags], *, shards: int) -> None:
        """After a committed pass of training: the next ones may be dealt in another way."""
        if self.position.passes > self._first_pass:  # else a recovery has made other ranks of them
            self._dealer.heard([each.pace for each in flags], shards=shards)

    def note_flags(self, flags: list[Flags]) -> None:
        """After a committed pass: what the members agreed on by it."""
        prepared = {each.prepared for each in flags}
        agreed = prepared.pop() if len(prepared) == 1 else 0
        self.agreed = agreed if agreed > self.crew.generation else 0  # else a recovery has made it void
        self.stopping = self.stopping or any(each.stop for each in flags)

    # ------------------------------------------------------------ moves

    def boundary(self) -> None:
        """Between two steps: stop, switch to an agreed generation, or recover. Raises JobStopped."""
        if self.stopping:
            self.leaving = True
            for callback in self.on_stop:
                callback()
            raise JobStopped("the job was stopped")
        agreed, self.agreed = self.agreed, 0
        if agreed:
            self._switch(agreed)
        elif self.usable_group() is None:
            self.recover(None)

    def recover(self, attempt: Attempt | None) -> bool:
        """Move to the next generation that stands. Blocking.

        Returns:
            True: the pass in flight (``attempt``) is to be committed as it is. False: ``dealt`` says which more
            shards of it this worker has to compute.
        """
        self.agreed = 0
        while True:
            with self._noting_the_end():
                group, kind = self.crew.await_next()
            synced = self._enter(group, kind, attempt)
            if synced is not None:
                return group.rank in synced.decision.commit

    def admit(self, shape: WorkerReady) -> None:
        """A worker without the job's state: offer itself, and wait until it has it. Blocking."""
        self.crew.ready(shape)
        while True:
            with self._noting_the_end():
                group, kind = self.crew.await_next()
            if self._enter(group, kind, None) is not None:
                return

    @contextmanager
    def _noting_the_end(self) -> Iterator[None]:
        """Whoever is told to stop leaves the script: it must not take its call of ``steps`` for ended."""
        try:
            yield
        except JobStopped:
            self.leaving = True
            raise

    def check_end(self) -> None:
        """Raise JobStopped if this worker's part in the job is over."""
        with self._noting_the_end():
            self.crew.check_end()

    def pending(self, state: Mapping[str, Any]) -> None:
        """What ``load_pending`` will take on; under ``tracked``."""
        self._pending = state

    def load_pending(self) -> None:
        """A newcomer has reached the place in the script where the job is: take on its state."""
        if self._pending is None:
            return
        try:
            restore(self.tracked, self._pending["tracked"])
        except StateError as error:
            if not self.crew.restore:
                raise
            raise StateError(
                f"checkpoint {self.crew.restore} does not fit this script (where it says 'another worker', read 'the "
                f"checkpoint'): {error}. Resume with the script and the arguments that wrote it."
            ) from error
        self._pending = None

    def _switch(self, generation: int) -> None:
        try:
            group = self.crew.switch(generation)
        except GenerationOverError:
            self.recover(None)
            return
        if group is None:
            # Left out, but still a holder of the state, until the coordinator knows that the others carry it on: it
            # then says Retire, which ends the wait with JobStopped; or it needs this worker in a recovery after all.
            self.recover(None)
        elif self._enter(group, "planned", None) is None:
            self.recover(None)

    def _enter(self, group: MeshGroup, kind: GenerationKind, attempt: Attempt | None) -> Synced | None:
        """First exchange of a group. None: it broke."""
        if kind == "founding" and group.rank == 0 and self.crew.restore:
            self.begin_from(Path(self.crew.restore))
        standing = Standing(
            worker=self.crew.worker,
            stateful=self.crew.stateful,
            passes_done=self.position.passes,
            full=attempt is not None and attempt.full,
            held=tuple(attempt.held) if attempt is not None else (),
            shards=attempt.shards if attempt is not None else 0,
            pace=self.pace,
        )
        try:
            synced = synchronize(group, kind=kind, standing=standing, capture=self._capture)
            self.crew.enter(group)
        except ConnectionLostError as error:
            self.crew.broke(group, error)
            return None
        self.stand(group.rank, group.size)
        if synced.state is not None:
            self._pending = cast(Mapping[str, Any], decode(synced.state.meta, synced.state.tensors))
            self.position = Position.from_state(self._pending["position"])
        if kind == "founding":
            self.position.era = group.generation
        self._take_deal(synced, attempt)
        recomputed = self._deals.get(self.position.passes, []) if attempt is not None else []
        self.crew.tell(
            GenerationEntered(
                generation=group.generation,
                step=self.position.step,
                shards=list(standing.held) + recomputed if attempt is not None else [],
                shards_recomputed=list(recomputed) if kind == "recovery" else [],
                bytes_received=synced.bytes_received,
                bytes_sent=synced.bytes_sent,
            )
        )
        for callback in self.on_new_group:
            callback()
        return synced

    def begin_from(self, checkpoint: Path) -> None:
        """Rank 0 of a job that goes on: what the others will get is the checkpoint's state. Reads it once. Blocking."""
        if self._pending is None:
            self._pending = load_checkpoint(checkpoint)
            self.position = Position.from_state(self._pending["position"])
            self.position.began_at = self.position.updates
            self._pending = {**self._pending, "position": self.position.as_state()}
            self.restored_step = self.position.step

    def _take_deal(self, synced: Synced, attempt: Attempt | None) -> None:
        decision = synced.decision
        self._dealer, self._first_pass = Dealer(decision.paces), decision.in_flight
        self._deals = {}
        if not synced.shards or self.rank in decision.newcomers:
            return
        mine = list(decision.deal[self.rank])
        if attempt is not None and self.rank not in decision.commit:
            kept = decision.keep[self.rank]
            if sorted(kept) != sorted(attempt.held):
                attempt.restart()
                mine = sorted([*mine, *kept])
        self._deals[decision.in_flight] = mine

    @contextmanager
    def own_state(self) -> Iterator[None]:
        """Within, the state of what is tracked is what is here: parameter servers are not asked for theirs."""
        with nullcontext() if self.served is None else self.served.as_it_is():
            yield

    def _capture(self) -> Encoded:
        if self._pending is not None:
            return encode(self._pending)
        with self.own_state():
            return encode({"tracked": capture(self.tracked), "position": self.position.as_state()})
