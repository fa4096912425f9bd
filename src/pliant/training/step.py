"""What the training loop sees of one step: iterate it for this worker's shards, call ``backward`` once for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch


class StepOwner(Protocol):
    """What a step needs of whoever made it (a live pass, or a rehearsal)."""

    @property
    def is_main(self) -> bool: ...  # noqa: D102

    def shards_of(self, step: Step) -> Iterator[Any]: ...  # noqa: D102

    def backward(self, loss: torch.Tensor, weight: float | torch.Tensor | None, scaler: Any) -> None: ...  # noqa: D102


class Step:
    """One optimizer update's worth of data, dealt over the workers.

    Attributes:
        number: counted over the whole job, from 0; the same at any number of workers.
        epoch: of the loader, from 0.
    """

    def __init__(self, owner: StepOwner, *, number: int, epoch: int, loss: float | None = None) -> None:
        self._owner = owner
        self.number = number
        self.epoch = epoch
        self._losses: list[float | None] = [] if loss is None else [loss]
        self.passes = 0

    def __iter__(self) -> Iterator[Any]:
        """This worker's batches, one for each of its shards.

        When the loop ends, ``param.grad`` is the mean over the *whole* batch. If a peer dies, the loop yields the
        shards that this worker inherits. Iterating once more is a second pass over the same shards, with a reduction
        of its own.
        """
        return self._owner.shards_of(self)

    def backward(
        self,
        loss: torch.Tensor,
        weight: float | torch.Tensor | None = None,
        *,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """Compute this shard's gradients; in place of ``loss.backward()``, exactly once for each batch.

        Args:
            loss: scalar, the mean over the batch's samples (or over ``weight`` items).
            weight: what the loss is a mean over, if not samples: the number of tokens of a padded batch, say.
            scaler: scales the loss for float16; ``step.loss`` stays unscaled.

        Raises:
            UsageError: called twice, outside the inner loop, or with something that is no scalar.
        """
        self._owner.backward(loss, weight, scaler)

    @property
    def loss(self) -> float:
        """Weighted mean of the loss over all shards of the last pass. NaN before the inner loop has ended."""
        last = self._losses[-1] if self._losses else None
        return float("nan") if last is None else last

    @property
    def losses(self) -> list[float]:
        """The loss of each pass of this step."""
        return [float("nan") if loss is None else loss for loss in self._losses]

    @property
    def is_main(self) -> bool:
        """True on exactly one worker: the one that prints and saves."""
        return self._owner.is_main

    def done(self, loss: float | None) -> None:
        """A pass has been committed. For the runtime."""
        self.passes += 1
        self._losses.append(loss)
