"""The load of all systems that keep a table: batches of skewed ids, pooled lookups, a loss that uses every number.

What a system has to offer is ``rows``: from ids and bags to their sums, and a step that updates the rows.
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import Dataset

DIM = 32
BATCH = 65_536
"""Ids that a batch looks up."""
BAG = 8
POOL = 16
"""Different batches, drawn before anything is measured."""
LR = 0.05


class Ids(Dataset[torch.Tensor]):
    """Batches of ids. The first ``fill`` of them see each row once, so that all rows are there afterwards."""

    def __init__(self, rows: int, *, fill: int, batches: int) -> None:
        self._rows, self._fill, self._batches = rows, fill, batches
        self._pool = zipf_batches(rows)

    def __len__(self) -> int:
        return self._batches

    def __getitem__(self, index: int) -> torch.Tensor:
        if index >= self._fill:
            return self._pool[index % POOL]
        return torch.arange(index * BATCH, (index + 1) * BATCH) % self._rows


def zipf_batches(rows: int) -> list[torch.Tensor]:
    """The pool; the k-th id is drawn about in proportion to 1 / (k + 1)."""
    draw = torch.Generator().manual_seed(0)
    chance = (torch.rand(BATCH, generator=draw, dtype=torch.float64) for _ in range(POOL))
    return [(rows**each - 1).long() for each in chance]


def bags() -> torch.Tensor:
    """Where each bag of a batch begins."""
    return torch.arange(0, BATCH, BAG)


def fill_batches(rows: int) -> int:
    """So many batches see each row."""
    return -(-rows // BATCH)


def lookup_arguments() -> argparse.Namespace:
    """The command line of all the scripts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True, help="that are measured")
    parser.add_argument("--turns", required=True, help="directory of the turnstile, see benchmarks/turns.py")
    parser.add_argument("--turn-steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--rank", type=int, default=0, help="of the dict: 0 for the worker, 1 for the server")
    parser.add_argument("--whole", action="store_true", help="of the dict: compute on a batch, not row by row")
    return parser.parse_args()


class Head(torch.nn.Module):
    """Makes a loss of the sums; small, so that the rows are what is measured."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out = torch.nn.Linear(DIM, 1)

    def forward(self, sums: torch.Tensor) -> torch.Tensor:
        """(b, DIM): a number."""
        loss: torch.Tensor = (self.out(sums) - 1).square().mean()
        return loss
