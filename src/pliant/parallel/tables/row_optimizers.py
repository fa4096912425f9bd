"""Optimizers of rows: those of :mod:`pliant.wire.tables`, computed in place on the rows of a batch.

Everything is elementwise, so that a row's bits depend on its own gradients only, and not on what else is in the batch.
The operations are those of ``torch.optim``'s loops over single tensors, in their order: on rows that every step touches
the bits are those of ``torch.optim.SGD``, ``Adagrad`` and ``Adam`` on a dense parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch

from pliant.wire.tables import RowAdagrad, RowAdam, RowOptimizer, RowSGD

_MOST_COUNTED = 1 << 24
"""Beyond, a float32 does not count on; a row's count stays there."""


class StateColumn(NamedTuple):
    """State that each row has beside its values: ``width`` float32 numbers, which begin as ``initial``."""

    name: str
    width: int
    initial: float


def state_columns(optimizer: RowOptimizer, dim: int) -> tuple[StateColumn, ...]:
    """The optimizer's state of a row of ``dim`` numbers."""
    match optimizer:
        case RowSGD(momentum=0.0):
            return ()
        case RowSGD():
            # torch begins with a copy of the first gradient; -0.0 is what leaves each number as it is when added to it.
            return (StateColumn("momentum_buffer", dim, -0.0),)
        case RowAdagrad():
            return (StateColumn("sum", dim, optimizer.initial),)
        case RowAdam():
            return (StateColumn("exp_avg", dim, 0.0), StateColumn("exp_avg_sq", dim, 0.0), StateColumn("step", 1, 0.0))


def apply_update(
    optimizer: RowOptimizer, *, rows: torch.Tensor, state: Sequence[torch.Tensor], grads: torch.Tensor
) -> None:
    """Update rows and state in place.

    Args:
        optimizer: which.
        rows: (n, dim) float32, contiguous.
        state: for each of :func:`state_columns`, (n, width) float32, contiguous.
        grads: (n, dim) float32; not changed.
    """
    match optimizer:
        case RowSGD():
            _sgd(optimizer, rows, state, grads)
        case RowAdagrad():
            _adagrad(optimizer, rows, state, grads)
        case RowAdam():
            _adam(optimizer, rows, state, grads)


def _sgd(optimizer: RowSGD, rows: torch.Tensor, state: Sequence[torch.Tensor], grads: torch.Tensor) -> None:
    if optimizer.momentum:
        grads = state[0].mul_(optimizer.momentum).add_(grads, alpha=1)
    rows.add_(grads, alpha=-optimizer.lr)


def _adagrad(optimizer: RowAdagrad, rows: torch.Tensor, state: Sequence[torch.Tensor], grads: torch.Tensor) -> None:
    std = state[0].addcmul_(grads, grads, value=1).sqrt().add_(optimizer.eps)
    rows.addcdiv_(grads, std, value=-optimizer.lr)


def _adam(optimizer: RowAdam, rows: torch.Tensor, state: Sequence[torch.Tensor], grads: torch.Tensor) -> None:
    (beta1, beta2), (average, square, step) = optimizer.betas, state
    step.add_(1).clamp_(max=_MOST_COUNTED)
    counts = step.to(torch.int64)
    step_size = (-optimizer.lr / _corrections(beta1).of(counts)).to(torch.float32)
    root = _corrections(beta2).of(counts).sqrt_().to(torch.float32)
    average.lerp_(grads, 1 - beta1)
    square.mul_(beta2).addcmul_(grads, grads, value=1 - beta2)
    denominator = square.sqrt().div_(root).add_(optimizer.eps)
    # As addcdiv does, which takes one factor only: (factor * average) / denominator.
    rows.add_(average.mul(step_size).div_(denominator))


class _Corrections:
    """``1 - beta ** count`` by count, as Python computes it: a tensor's ``pow`` has other bits on other processors."""

    def __init__(self, beta: float) -> None:
        self._beta = beta
        self._known = torch.zeros(1, dtype=torch.float64)

    def of(self, counts: torch.Tensor) -> torch.Tensor:
        """The value for each count; all are at least 1."""
        most = int(counts.max()) if counts.numel() else 0
        # 1.0 is the last value that differs from the one before.
        while len(self._known) <= most and self._known[-1] != 1.0:
            more = range(len(self._known), 2 * len(self._known))
            fresh = torch.tensor([1 - self._beta**count for count in more], dtype=torch.float64)
            self._known = torch.cat([self._known, fresh])
        return self._known[counts.clamp(max=len(self._known) - 1)]


@cache
def _corrections(beta: float) -> _Corrections:
    return _Corrections(beta)
