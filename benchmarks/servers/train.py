"""A dense model under either strategy; run by ``pliant run``. The data repeat, so that a job may be long.

Each worker leaves the peak of its memory, beyond what it had with its model built, beside its turnstile.
"""

from __future__ import annotations

import torch
from torch.utils.data import Dataset, TensorDataset

import pliant
from benchmarks.memory import PeakMemory
from benchmarks.servers.contest import GATE
from benchmarks.turns import Turnstile
from benchmarks.workload import build, workload_arguments

KEPT = 512
"""Different samples."""
LR = 1e-6
"""So low that the few samples are not learnt: else gradients become so small that the processor slows down."""


class Again(Dataset[tuple[torch.Tensor, ...]]):
    """The same few samples over and over, up to ``size``."""

    def __init__(self, kept: TensorDataset, size: int) -> None:
        self._kept, self._size = kept, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = self._kept[index % len(self._kept)]
        return found


def main() -> None:
    """Train for a fixed number of steps."""
    args = workload_arguments().parse_args()
    batch = args.shards * args.per_shard
    work = build(args.model, samples=KEPT, context=args.context)
    memory = PeakMemory()
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=LR)
    job = pliant.join(model=work.model, optimizer=optimizer)
    loader = pliant.Loader(Again(work.dataset, args.steps * batch), batch_size=batch, shards=args.shards, seed=0)
    turnstile: Turnstile | None = None
    for step in job.steps(loader, epochs=1):
        for x, y in step:
            step.backward(work.loss(work.model, x, y))
        optimizer.step()
        optimizer.zero_grad()
        if step.is_main:
            turnstile = turnstile or Turnstile(args.turns, GATE, warm_up=args.warm_up, turn_steps=args.turn_steps)
            turnstile.step_done()
    memory.write(args.turns, GATE)


if __name__ == "__main__":
    main()
