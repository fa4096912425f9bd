"""One live step on one worker: yields its shards, reduces, recovers, commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pliant.data.base import Batch, Source
from pliant.data.streams import seed_streams
from pliant.errors import ConnectionLostError, NonFiniteLossError, UsageError
from pliant.parallel.divergence_plan import Check
from pliant.parallel.engine import PassEngine, PassResult
from pliant.parallel.pass_messages import Flags
from pliant.training.guards import checked_loss, checked_weight
from pliant.training.pace import dawdle, now_s
from pliant.training.session import Session
from pliant.training.step import Step
from pliant.training.trace import Recorder
from pliant.transfer.state_digests import state_digests

OnNonFinite = Literal["stop", "skip", "continue"]


@dataclass
class OpenShard:
    """The shard whose batch the user's loop has in hand."""

    shard: int
    samples: int
    last: bool
    backward_calls: int = 0
    scale: float = 0.0
    loss: torch.Tensor | float = 0.0


@dataclass(frozen=True)
class StepRules:
    """Options of a job that a step needs."""

    seed: int
    samples_per_shard: int
    on_nonfinite: OnNonFinite
    overlap: bool
    check_every: int = 0
    """Steps between comparisons of the workers' state; 0: never."""
    stream: bool = False
    """The dataset is a function that gives each shard's stream."""
    recorder: Recorder | None = None
    """Writes down what is computed, for ``pliant verify``."""


class LiveStep:
    """The passes of one step; both the ``StepOwner`` of its :class:`Step` and the session's ``Attempt``."""

    def __init__(self, session: Session, engine: PassEngine, source: Source, rules: StepRules) -> None:
        self._session, self._engine, self._source, self._rules = session, engine, source, rules
        self._batches: dict[int, Batch | None] = {}
        self._shard: OpenShard | None = None
        self._computed: set[int] = set()
        self._dealt: list[int] = []
        """Shards of the pass that were dealt to this worker at its beginning."""
        self.running = False
        self.samples = 0
        """In the whole step, over all workers."""
        self.more: list[int] = []
        """Shards that have a batch in the next step of the epoch."""

    @property
    def is_main(self) -> bool:
        """This worker has rank 0."""
        return self._session.is_main

    @property
    def held(self) -> list[int]:
        """Shards of the pass in flight whose gradients are kept here."""
        return self._engine.held

    @property
    def full(self) -> bool:
        """The full gradient of the pass in flight is here."""
        return self._engine.full

    @property
    def shards(self) -> int:
        """V."""
        return self._engine.shards

    def restart(self) -> None:
        """Forget the shards of the pass in flight."""
        self._engine.restart()
        self._computed = set()

    def where(self) -> str | None:
        """Names the open shard, for messages; None between shards."""
        return f"shard {self._shard.shard} of step {self._session.position.step}" if self._shard else None

    def shards_of(self, step: Step) -> Iterator[Any]:
        """The inner loop of one pass."""
        if self.running:
            raise UsageError(f"step {step.number} is already being iterated: finish one inner loop before the next")
        position = self._session.position
        number = position.passes
        self.running = True
        check = self._state_check(step)
        self._engine.begin(number, check=check)
        self._computed = set()
        todo = self._session.dealt(number, self.shards)
        while True:
            held = sorted({*todo, *self._computed})
            self._source.assign(held, epoch=position.epoch, step=position.step_of_epoch)
            yield from self._shards(step, todo)
            result = self._reduce()
            if result is not None:
                break
            todo = self._session.dealt(number, self.shards)
        position.passes = number + 1
        self._measured()
        if check is not None and self._session.size > 1:
            position.agreed = check.step
        seed_streams(self._rules.seed, "tail", position.call, position.step, step.passes)
        self._commit(step, result)
        self.running = False

    def backward(self, loss: torch.Tensor, weight: float | torch.Tensor | None, scaler: Any) -> None:
        """See :meth:`pliant.training.step.Step.backward`."""
        here = self._shard
        if here is None:
            raise UsageError(
                "step.backward was called outside the inner loop `for batch in step:`, where there is no shard"
            )
        where = self.where() or ""
        here.backward_calls += 1
        if here.backward_calls > 1:
            raise UsageError(
                f"step.backward was called {here.backward_calls} times in {where}: call it once for each batch. "
                "Add up several losses first, or iterate `step` once more for a second pass."
            )
        checked_loss(loss, where)
        here.scale = checked_weight(weight, here.samples, where) / self._rules.samples_per_shard
        here.loss = loss.detach()
        group = self._session.usable_group() if here.last and self._rules.overlap else None
        self._engine.open_shard(here.shard, scale=here.scale, group=group)
        scaled = loss if scaler is None else scaler.scale(loss)
        scaled.backward(None if here.scale == 1.0 else torch.full_like(scaled, here.scale))

    def _shards(self, step: Step, todo: Sequence[int]) -> Iterator[Any]:
        """Compute these. What recovery adds to a pass is not measured: it comes in ones and twos."""
        first = not self._computed
        if first:
            self._dealt = list(todo)
            self._session.meter.start()
        for shard in todo:
            yield from self._one_shard(step, shard, last=shard == todo[-1])
        if first:
            self._session.meter.stop()

    def _measured(self) -> None:
        usual = self._rules.samples_per_shard
        batches = [self._batches.get(shard) for shard in self._dealt]
        alike = all(batch is not None and batch.samples == usual for batch in batches)
        self._session.meter.committed(shards=len(self._dealt), alike=alike)

    def _state_check(self, step: Step) -> Check | None:
        """This worker's state before the step, if it is to be compared with the others'; in the first pass only."""
        session, every = self._session, self._rules.check_every
        number = session.position.step
        if step.passes or not every or not number or number % every or session.size == 1:
            return None
        with session.own_state():
            entries = state_digests(session.tracked)
        return Check(entries, step=number, agreed=session.position.agreed, worker_of=session.worker_of)

    def _one_shard(self, step: Step, shard: int, *, last: bool) -> Iterator[Any]:
        position = self._session.position
        began_s = now_s()
        batch = self._batch(shard)
        if batch is None:
            self._engine.close_shard(shard, scale=0.0, loss=0.0)
            self._computed.add(shard)
            return
        here = self._shard = OpenShard(shard, batch.samples, last)
        seed_streams(self._rules.seed, "train", position.call, position.step, step.passes, shard)
        recorder = self._rules.recorder
        if recorder is not None:
            recorder.shard_begins(batch.data)
        yield batch.data
        if here.backward_calls == 0:
            raise UsageError(
                f"step.backward was not called in {self.where()}: call step.backward(loss) once for each batch, "
                "in place of loss.backward()."
            )
        self._shard = None
        dawdle(began_s, self._session.crew.slow)
        self._engine.close_shard(shard, scale=here.scale, loss=here.loss)
        self._computed.add(shard)
        if recorder is not None:
            recorder.shard_ends(
                step=position.step,
                pass_number=step.passes,
                shard=shard,
                loss=float(here.loss),
                stream=self._rules.stream,
            )

    def _batch(self, shard: int) -> Batch | None:
        position = self._session.position
        if shard not in self._batches:
            self._batches[shard] = self._source.batch(epoch=position.epoch, step=position.step_of_epoch, shard=shard)
        return self._batches[shard]

    def _reduce(self) -> PassResult | None:
        """Reduce over the current group. None: a peer was lost, and more shards have been dealt to this worker."""
        session = self._session
        group = session.usable_group()
        try:
            if group is not None:
                return self._engine.reduce(group, self._flags())
        except ConnectionLostError as error:
            if group is not None:
                session.crew.broke(group, error)
        self._engine.abandon()
        return self._engine.result() if session.recover(self) else None

    def _flags(self) -> Flags:
        position = self._session.position
        at = {"epoch": position.epoch, "step": position.step_of_epoch}
        more = [shard for shard in self.held if self._source.more(shard=shard, **at)]
        counts = (batch.samples for shard in self.held if (batch := self._batch(shard)) is not None)
        return self._session.crew.flags(more=more, samples=sum(counts), pace=self._session.pace)

    def _commit(self, step: Step, result: PassResult) -> None:
        if result.factor == 0.0:
            raise UsageError(f"all weights of step {step.number} are 0: there is nothing to take the mean of")
        finite = result.loss is not None and abs(result.loss) < float("inf")
        if not finite and self._rules.on_nonfinite == "stop":
            raise NonFiniteLossError(
                f"the loss of step {step.number} is {result.loss}, on all workers alike; no weight was changed by it. "
                'Lower the learning rate, or choose join(..., on_nonfinite="skip") or "continue".'
            )
        self._engine.commit(result, skip=not finite and self._rules.on_nonfinite == "skip")
        self.samples = sum(flags.samples for flags in result.flags)
        self.more = sorted({shard for flags in result.flags for shard in flags.more})
        if self._rules.recorder is not None:
            self._rules.recorder.mean(step=step.number, pass_number=step.passes)
        self._session.note_flags(result.flags)
        self._session.note_paces(result.flags, shards=self.shards)
        step.done(result.loss)


class RehearsalStep:
    """One step that a newcomer runs on its own model and throws away: it warms up whatever is slow the first time."""

    is_main = False

    def __init__(self, data: Any, *, seed: int) -> None:
        self._data, self._seed = data, seed

    def shards_of(self, step: Step) -> Iterator[Any]:
        """One batch."""
        seed_streams(self._seed, "rehearsal")
        yield self._data
        step.passes += 1

    def backward(self, loss: torch.Tensor, weight: float | torch.Tensor | None, scaler: Any) -> None:
        """Plain backward."""
        (loss if scaler is None else scaler.scale(loss)).backward()
