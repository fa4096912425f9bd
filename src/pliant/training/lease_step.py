"""One step on a worker that waits for no other: a lease, which is one shard, and an update of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pliant.data.base import Source
from pliant.data.streams import seed_streams
from pliant.errors import NonFiniteLossError, UsageError
from pliant.parallel.leases.ledger import Finished
from pliant.parallel.tables.row_sums import RowSums
from pliant.training.guards import checked_loss, checked_weight
from pliant.training.leased_served import LeasedServed
from pliant.training.pace import dawdle, now_s
from pliant.training.passes import StepRules
from pliant.training.session import Session
from pliant.training.step import Step


@dataclass(frozen=True)
class Lease:
    """What this worker computes next.

    Attributes:
        index: within the call.
        step: counted over the whole job.
        shard: of that step.
        epoch: of the loader.
        step_of_epoch: within the epoch.
    """

    index: int
    step: int
    shard: int
    epoch: int
    step_of_epoch: int


class LeaseStep:
    """A :class:`pliant.training.step.StepOwner`."""

    def __init__(
        self, lease: Lease, session: Session, served: LeasedServed, *, source: Source, rules: StepRules
    ) -> None:
        self.lease = lease
        self._session, self._served, self._source, self._rules = session, served, source, rules
        self._rows = RowSums(served.tables, shards=1)
        self._backwards = 0
        self._open = self._scaled = self._skipped = self.running = False
        self._loss: torch.Tensor | None = None
        self._samples = 0

    @property
    def is_main(self) -> bool:
        """This worker has rank 0."""
        return self._session.is_main

    def where(self) -> str | None:
        """Names the open shard, for messages; None between shards."""
        return f"shard {self.lease.shard} of step {self.lease.step}" if self._open else None

    def shards_of(self, step: Step) -> Iterator[Any]:
        """The inner loop: one batch."""
        if self.running:
            raise UsageError(f"step {step.number} is already being iterated: finish one inner loop before the next")
        lease, call, seed = self.lease, self._session.position.call, self._rules.seed
        self.running = True
        self._rows.begin(lease.step)
        began_s = now_s()
        batch = self._source.batch(epoch=lease.epoch, step=lease.step_of_epoch, shard=lease.shard)
        if batch is not None:
            seed_streams(seed, "train", call, lease.step, step.passes, lease.shard)
            self._open, self._backwards, self._samples = True, 0, batch.samples
            yield batch.data
            if not self._backwards:
                raise UsageError(
                    f"step.backward was not called in {self.where()}: call step.backward(loss) once for each batch, "
                    "in place of loss.backward()."
                )
            self._open = False
            dawdle(began_s, self._session.crew.slow)
            self._close()
        seed_streams(seed, "tail", call, lease.step, step.passes)
        step.done(None if self._loss is None else float(self._loss))
        self.running = False

    def backward(self, loss: torch.Tensor, weight: float | torch.Tensor | None, scaler: Any) -> None:
        """See :meth:`pliant.training.step.Step.backward`. A shard's mean is its own, whatever its weight is."""
        where = self.where()
        if where is None:
            raise UsageError(
                "step.backward was called outside the inner loop `for batch in step:`, where there is no shard"
            )
        self._backwards += 1
        if self._backwards > 1:
            raise UsageError(
                f"step.backward was called {self._backwards} times in {where}: call it once for each batch. "
                "Add up several losses first, or iterate `step` once more for a second pass."
            )
        checked_loss(loss, where)
        checked_weight(weight, self._samples, where)
        self._loss, self._scaled = loss.detach(), self._scaled or scaler is not None
        (loss if scaler is None else scaler.scale(loss)).backward()

    def finished(self, step: Step) -> Finished:
        """The body has ended. Raises UsageError: it has left something out."""
        if self.running or not step.passes:
            done = "was left before its batch was done" if self.running else "was never iterated"
            raise UsageError(
                f"step {step.number} {done}: write `for batch in step:` in the body of the loop and let it run to its "
                "end."
            )
        if self._samples and not self._served.parts and not self._scaled and not self._skipped:
            raise UsageError(
                f"the body of step {step.number} has computed gradients and called no optimizer.step(). With "
                "--staleness each shard is an update of its own, and what is not pushed would be lost with its worker: "
                "call optimizer.step() in each body, or train synchronously (without --staleness)."
            )
        loss = None if self._loss is None else float(self._loss)
        return Finished(
            self.lease.index,
            samples=self._samples,
            loss=loss if loss is not None and math.isfinite(loss) else None,
            staleness=self._served.staleness,
        )

    def _close(self) -> None:
        """The gradients of the shard are here: the tables' leave at once, the others with ``optimizer.step()``."""
        loss = float(self._loss) if self._loss is not None else 0.0
        if not math.isfinite(loss):
            if self._rules.on_nonfinite == "stop":
                raise NonFiniteLossError(
                    f"the loss of shard {self.lease.shard} of step {self.lease.step} is {loss}; no weight was changed "
                    'by it. Lower the learning rate, or choose join(..., on_nonfinite="skip") or "continue".'
                )
            if self._rules.on_nonfinite == "skip":
                self._skipped = True
                self._served.drop_gradients()
                return
        self._rows.take(0)
        self._served.push_rows(self._rows.nodes.get((0, 1), {}))
