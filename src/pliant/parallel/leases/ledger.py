"""The ledger of leases: a decider, which hears what workers ask for and says what each gets.

A *lease* is one shard of one step (or, of an evaluation, one shard). Rules
---------------------------------------------------------------------------
1. Leases are given in the order of training. One whose holder is no member any more is given again, before others.
2. A worker has one lease at a time; asked again, it gets the same.
3. With a staleness S a lease of step s is given once all leases of steps before s - S are done.
4. Before a step where a checkpoint is due, and where the job is to stop, the ledger *holds*: it gives no lease of that
   step or a later one. When all before it are done the job is *quiet*: the main worker (the first member) is told, and
   the next leases are given once it says that it has what it wants.
5. A worker that leaves the loop ends the call for all: nothing more is given, and the call is over when what was given
   is done.
6. Everything may be told twice, and late. Nothing here has to be right for a push to be applied once: that is
   the slots' business (:mod:`~pliant.parallel.leases.applied`). A ledger that has forgotten something gives a lease
   twice.

Stale synchronous parallel: Q. Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter
Server", NeurIPS 2013. There the bound is between the clocks of workers; here, between the steps of leases.

Pure: no clock, no sockets, no tensors. The state is plain, and travels to the ledger's copies as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from pliant.wire.messages import UNBOUNDED

CALL = 1 << 40
"""Leases of one call at most: they are numbered over the whole job, ``call * CALL + index``."""
CALLS = 16
"""So many calls that are over are remembered."""
NEWS = 256
"""So many steps whose outcome is remembered for the main worker."""
What = Literal["work", "quiet", "stop", "over", "passed"]


class CallShape(msgspec.Struct, frozen=True):
    """What a call of ``job.steps`` or ``job.evaluate`` consists of; the same on all workers."""

    call: int
    kind: Literal["steps", "evaluate"]
    first_step: int
    """Of the call, counted over the whole job."""
    steps: int
    shards: int
    begun: int = 0
    """Steps that were done when the job began, from a checkpoint."""
    every: int = 0
    """Steps between two checkpoints; 0: none are written."""
    staleness: int = UNBOUNDED

    @property
    def leases(self) -> int:
        """How many there are."""
        return self.steps * self.shards


class Finished(msgspec.Struct, frozen=True):
    """What became of a lease: its pushes are applied, by whomever."""

    index: int
    samples: int = 0
    loss: float | None = None
    staleness: int = UNBOUNDED
    """Updates that others had applied between its pull and its push; UNBOUNDED: it had no push."""
    result: bytes = b""
    """Of an evaluation."""


class Asked(msgspec.Struct, frozen=True):
    """A worker wants something to do."""

    shape: CallShape
    generation: int
    members: list[str]
    """Of the newest generation that the worker knows."""
    finished: Finished | None = None
    stop: bool = False
    """The job is to stop."""
    released: int = 0
    """The main worker has what it wants of the steps before this one."""
    known: int = 0
    """Steps whose outcome the worker knows, counted over the whole job."""
    leave: bool = False
    """The worker has left the loop: the call is to end."""


class StepNews(msgspec.Struct, frozen=True):
    """The outcome of a step."""

    step: int
    samples: int
    loss: float | None


class Given(msgspec.Struct, frozen=True):
    """What a worker is to do.

    ``work``: compute the lease ``index``. ``quiet``: all before ``step`` is done, and nothing else begins. ``stop``:
    the same, and the job ends. ``over``: the call is. ``passed``: it is long over, and its result is not known here.
    """

    what: What
    index: int = 0
    step: int = 0
    """All steps before this one are done, counted over the whole job."""
    floor: int = 0
    """All leases of the call below are done."""
    news: list[StepNews] = []
    staleness: dict[int, int] = {}
    """How many pushes there were of each, since the job began."""
    results: list[bytes] = []
    """Of an evaluation that is over, by shard."""


class Sums(msgspec.Struct):
    """Of a step that is not done."""

    samples: int = 0
    weighted: float = 0.0
    weight: int = 0


class LedgerState(msgspec.Struct):
    """All that a ledger knows."""

    generation: int = 0
    members: list[str] = []
    shape: CallShape | None = None
    floor: int = 0
    done: list[int] = []
    """Leases beyond the floor that are done, in order."""
    next: int = 0
    """The first that was never given."""
    held: dict[str, int] = {}
    again: list[int] = []
    """To be given again, in order."""
    released: int = 0
    stop_at: int = UNBOUNDED
    """No lease of this step or a later one is given; UNBOUNDED: the job is not to stop."""
    sums: dict[int, Sums] = {}
    news: list[StepNews] = []
    staleness: dict[int, int] = {}
    results: dict[int, bytes] = {}
    leaving: bool = False
    """The call is to end with what was given."""
    ends: dict[int, int] = {}
    """Of the newest calls that are over: the step at which they ended."""
    before: tuple[int, list[bytes]] = (UNBOUNDED, [])
    """The evaluation before this call, and its results."""


class LeaseLedger:
    """Decides who computes which lease."""

    def __init__(self, state: LedgerState | None = None) -> None:
        self.state = LedgerState() if state is None else state

    def hear(self, worker: str, asked: Asked) -> None:
        """Take note of what a worker says; ``give`` answers it."""
        state = self.state
        if asked.generation > state.generation:
            state.generation, state.members = asked.generation, list(asked.members)
        if state.shape is None or asked.shape.call > state.shape.call:
            self._begin(asked.shape)
        state.released = max(state.released, asked.released)
        if asked.shape.call == self._shape.call:
            if asked.finished is not None:
                self._finish(asked.finished)
            if asked.leave:
                state.leaving = True
                state.held.pop(worker, None)
            if asked.stop and state.stop_at == UNBOUNDED and self._shape.kind == "steps":
                state.stop_at = self._shape.first_step + -(-state.next // self._shape.shards)
        self._take_back()

    def give(self, worker: str, asked: Asked) -> Given | None:
        """What ``worker`` is to do now; None: it has to wait."""
        state, shape = self.state, self._shape
        if asked.shape.call != shape.call:
            return self._earlier(asked)
        if state.floor >= shape.leases:
            return self._given("over", worker, asked, results=self._results() if state.results else [])
        if worker in state.held:
            return self._given("work", worker, asked, index=state.held[worker])
        if state.leaving:
            return None if state.held else self._given("over", worker, asked)
        if worker not in state.members:
            return None
        index = self._next()
        if index is not None:
            state.held[worker] = index
            return self._given("work", worker, asked, index=index)
        if shape.kind == "evaluate" or state.floor != state.next:
            return None
        if self._step(state.floor) == state.stop_at:
            return self._given("stop", worker, asked)
        if self._held_before(self._step(state.floor)) and self._is_main(worker):
            return self._given("quiet", worker, asked)
        return None

    # ------------------------------------------------------------ what is known

    @property
    def _shape(self) -> CallShape:
        assert self.state.shape is not None
        return self.state.shape

    def _results(self) -> list[bytes]:
        """Of an evaluation, by shard."""
        return [self.state.results.get(index, b"") for index in range(self._shape.leases)]

    def _begin(self, shape: CallShape) -> None:
        """Whoever asks for a call knows that the one before it is over."""
        state = self.state
        if state.shape is not None and state.shape.kind == "evaluate":
            state.before = (state.shape.call, self._results())
        if state.shape is not None:
            state.ends[state.shape.call] = shape.first_step
            state.ends = dict(sorted(state.ends.items())[-CALLS:])
        state.shape, state.leaving = shape, False
        state.floor = state.next = shape.begun * shape.shards
        state.done, state.again, state.held, state.results, state.sums = [], [], {}, {}, {}

    def _finish(self, told: Finished) -> None:
        state, index = self.state, told.index
        state.held = {worker: lease for worker, lease in state.held.items() if lease != index}
        if index < state.floor or index in state.done or index >= self._shape.leases:
            return
        if index in state.again:
            state.again.remove(index)
        if told.staleness != UNBOUNDED:
            state.staleness[told.staleness] = state.staleness.get(told.staleness, 0) + 1
        if self._shape.kind == "evaluate":
            state.results[index] = told.result
        self._add(index, told)
        state.done = sorted({*state.done, index})
        while state.done and state.done[0] == state.floor:
            state.done.pop(0)
            state.floor += 1
            state.next = max(state.next, state.floor)
            if state.floor % self._shape.shards == 0 and self._shape.kind == "steps":
                self._step_done(state.floor // self._shape.shards - 1)

    def _add(self, index: int, told: Finished) -> None:
        sums = self.state.sums.setdefault(index // self._shape.shards, Sums())
        sums.samples += told.samples
        if told.loss is not None:
            sums.weighted += told.loss * told.samples
            sums.weight += told.samples

    def _step_done(self, step: int) -> None:
        sums = self.state.sums.pop(step, Sums())
        loss = sums.weighted / sums.weight if sums.weight else None
        self.state.news.append(StepNews(self._shape.first_step + step, sums.samples, loss))
        del self.state.news[:-NEWS]

    def _take_back(self) -> None:
        """Leases of workers that are no members any more."""
        state = self.state
        lost = {worker: index for worker, index in state.held.items() if worker not in state.members}
        state.again = sorted({*state.again, *lost.values()})
        state.held = {worker: index for worker, index in state.held.items() if worker not in lost}

    # ------------------------------------------------------------ what is given

    def _next(self) -> int | None:
        state = self.state
        if state.again:
            return state.again.pop(0)
        while state.next in state.done:  # given by a ledger that has told nobody of it
            state.next += 1
        index = state.next
        if index >= self._shape.leases or not self._may_begin(self._step(index)):
            return None
        state.next += 1
        return index

    def _may_begin(self, step: int) -> bool:
        state, staleness = self.state, self._shape.staleness
        if self._shape.kind == "evaluate":
            return True
        if staleness != UNBOUNDED and step - self._step(state.floor) > staleness:
            return False
        if state.stop_at != UNBOUNDED and step >= state.stop_at:
            return False
        return not self._held_before(step)

    def _held_before(self, step: int) -> bool:
        """A checkpoint is due at this step, or at one before it, that was not released."""
        every = self._shape.every
        if every < 1:
            return False
        newest = step // every * every
        return newest > 0 and newest > self.state.released and newest >= self._shape.first_step + self._shape.begun

    def _step(self, index: int) -> int:
        return self._shape.first_step + index // self._shape.shards

    def _earlier(self, asked: Asked) -> Given:
        """The call that the worker asks of is over."""
        call, results = self.state.before
        if asked.shape.kind == "steps" or asked.shape.call == call:
            length = asked.shape.steps if asked.shape.kind == "steps" else 0
            step = self.state.ends.get(asked.shape.call, asked.shape.first_step + length)
            return Given("over", step=step, floor=asked.shape.leases, results=results)
        return Given("passed")

    def _is_main(self, worker: str) -> bool:
        return self.state.members[:1] == [worker]

    def _given(self, what: What, worker: str, asked: Asked, *, index: int = 0, results: Iterable[bytes] = ()) -> Given:
        state, step = self.state, self._step(self.state.floor)
        if what == "over" and state.leaving:  # the step that is not whole is over as well
            step = self._step(state.next + self._shape.shards - 1)
        return Given(
            what,
            index=index,
            step=step,
            floor=state.floor,
            news=[news for news in state.news if news.step >= asked.known] if self._is_main(worker) else [],
            staleness=dict(state.staleness) if self._is_main(worker) else {},
            results=list(results),
        )
