"""What an embedding table is: the size of its rows, their first values, their optimizer, which are kept. No torch.

A worker says so once to each server. What the optimizers compute is in :mod:`pliant.parallel.tables.row_optimizers`.
"""

from __future__ import annotations

from math import isfinite
from typing import Literal

import msgspec

PENDING = "pending."
"""What the names of columns begin with that are of ids which have no row yet."""
MAX_DIM = 1 << 16
MAX_NAME = 200
MAX_SCALE = 1e30


class RowSGD(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Stochastic gradient descent on the rows that a step touched. With momentum, a row that a step did not touch
    does not move in it, and its momentum does not decay.
    """

    lr: float
    momentum: float = 0.0

    def problems(self) -> list[str]:
        """What is wrong with the values; empty: nothing."""
        return [*_positive("lr", self.lr), *_below_one("momentum", self.momentum)]


class RowAdagrad(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Adagrad. A row without a gradient stays as it is in the dense algorithm, too: nothing is lost by being lazy.
    ``initial``: of the accumulators.
    """

    lr: float
    eps: float = 1e-10
    initial: float = 0.0

    def problems(self) -> list[str]:
        """What is wrong with the values; empty: nothing."""
        return [*_positive("lr", self.lr), *_not_negative("eps", self.eps), *_not_negative("initial", self.initial)]


class RowAdam(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Lazy Adam: a row's moments decay only in steps that touch it.

    So does ``torch.optim.SparseAdam``. Other than there, the correction for the moments' start at zero goes by how
    often *this row* was updated, not by the number of steps: a row that is seen for the first time in step 100,000
    begins as carefully as one that was seen in the first.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def problems(self) -> list[str]:
        """What is wrong with the values; empty: nothing."""
        found = [*_positive("lr", self.lr), *_not_negative("eps", self.eps)]
        for number, beta in enumerate(self.betas):
            found += _below_one(f"betas[{number}]", beta)
        return found


RowOptimizer = RowSGD | RowAdagrad | RowAdam


class RowInit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """First values of rows: a function of the table's seed and name, and of the row's id (``init_rows``).

    ``scale``: half the width of the uniform distribution around 0, or the normal one's standard deviation.
    """

    kind: Literal["uniform", "normal", "zeros"] = "uniform"
    scale: float = 0.05


class TableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table. Any 64-bit integer is the id of a row; rows appear when they are updated for the first time."""

    name: str
    dim: int
    optimizer: RowOptimizer
    seed: int = 0
    init: RowInit = RowInit()
    expire_after_steps: int | None = None
    """A row is forgotten when it was not updated for more steps than this: whoever asks gets the initial row again."""
    min_count: int = 1
    """An id has a row of its own once it was updated so many times. Updates before are counted and do nothing else."""
    max_rows: int | None = None
    """Most rows that one server holds of it."""

    def problems(self) -> list[str]:
        """What is wrong with the values, each with the table's name; empty: nothing."""
        found = self.optimizer.problems()
        if not 0 < len(self.name) <= MAX_NAME:
            found.append(f"name has {len(self.name)} characters; it takes 1 to {MAX_NAME}")
        if not 0 < self.dim <= MAX_DIM:
            found.append(f"dim={self.dim}; a row has 1 to {MAX_DIM} numbers")
        if not 0 <= self.init.scale <= MAX_SCALE:
            found.append(f"init scale={self.init.scale}; it must be between 0 and {MAX_SCALE:g}")
        for key in ("expire_after_steps", "min_count", "max_rows"):
            value = getattr(self, key)
            if value is not None and value < 1:
                found.append(f"{key}={value}; it must be at least 1")
        return [f"table {self.name}: {problem}" for problem in found]


def _positive(name: str, value: float) -> list[str]:
    return [] if isfinite(value) and value > 0 else [f"{name}={value}; it must be a finite number above 0"]


def _not_negative(name: str, value: float) -> list[str]:
    return [] if isfinite(value) and value >= 0 else [f"{name}={value}; it must be a finite number, not below 0"]


def _below_one(name: str, value: float) -> list[str]:
    return [] if 0 <= value < 1 else [f"{name}={value}; it must be at least 0 and below 1"]
