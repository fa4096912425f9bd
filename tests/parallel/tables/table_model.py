"""A table written down as plainly as can be, and what tests compare with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from pliant.parallel.tables.init_rows import initial_rows
from pliant.parallel.tables.row_optimizers import apply_update, state_columns
from pliant.wire.tables import TableSpec


def raw(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype, bytes]:
    """Bit for bit."""
    return tensor.shape, tensor.dtype, tensor.contiguous().numpy().tobytes()


def raw_all(snapshot: dict[str, torch.Tensor]) -> dict[str, object]:
    return {key: raw(tensor) for key, tensor in snapshot.items()}


def ids_of(numbers) -> torch.Tensor:
    return torch.tensor(sorted(numbers), dtype=torch.int64)


def grads_for(ids: torch.Tensor, dim: int, seed: int) -> torch.Tensor:
    """Of an id and a seed: the same whatever else is in the batch."""
    rows = [torch.randn(dim, generator=torch.Generator().manual_seed(seed * 1000 + int(i) % 997)) for i in ids]
    return torch.stack(rows) if rows else torch.empty(0, dim)


@dataclass
class OneRow:
    count: int = 0
    touched: int = 0
    values: torch.Tensor | None = None
    state: list[torch.Tensor] = field(default_factory=list)


class TableModel:
    """Row by row, in a dict."""

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        self.known: dict[int, OneRow] = {}

    def first(self, one: int) -> torch.Tensor:
        return torch.from_numpy(initial_rows(self.spec, np.array([one], np.int64)))

    def live(self, one: int, step: int) -> OneRow:
        found = self.known.get(one)
        limit = self.spec.expire_after_steps
        if found is None or (limit is not None and step - found.touched > limit):
            return OneRow()
        return found

    def pull(self, ids: torch.Tensor, step: int) -> torch.Tensor:
        found = [self.live(one, step) for one in ids.tolist()]
        rows = [self.first(i) if row.values is None else row.values for i, row in zip(ids.tolist(), found, strict=True)]
        return torch.cat(rows) if rows else torch.empty(0, self.spec.dim)

    def push(self, ids: torch.Tensor, grads: torch.Tensor, step: int) -> None:
        for one, grad in zip(ids.tolist(), grads, strict=True):
            row = self.known[one] = self.live(one, step)
            row.count += 1
            row.touched = step
            if row.values is None and row.count >= self.spec.min_count:
                row.values = self.first(one)
                columns = state_columns(self.spec.optimizer, self.spec.dim)
                row.state = [torch.full((1, column.width), column.initial) for column in columns]
            if row.values is not None:
                apply_update(self.spec.optimizer, rows=row.values, state=row.state, grads=grad[None])
