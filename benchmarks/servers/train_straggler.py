"""A model that learns something, under a plan that slows a worker down; run by ``pliant run``.

The labels are those of a fixed linear teacher, so that the loss tells how well updates are used.
"""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset

import pliant
from benchmarks.servers.train import Again
from benchmarks.workload import FEATURES, build, workload_arguments

KEPT = 65_536
"""Different samples."""
CLASSES = 10
LR = 1e-3


def lesson() -> TensorDataset:
    """Samples and the teacher's labels; the same bits on every call."""
    stream = torch.Generator().manual_seed(2)
    x = torch.randn(KEPT, FEATURES, generator=stream)
    return TensorDataset(x, (x @ torch.randn(FEATURES, CLASSES, generator=stream)).argmax(dim=1))


def main() -> None:
    """Train for a fixed number of steps."""
    args = workload_arguments().parse_args()
    batch = args.shards * args.per_shard
    work = build(args.model, samples=1)
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=LR)
    job = pliant.join(model=work.model, optimizer=optimizer)
    loader = pliant.Loader(Again(lesson(), args.steps * batch), batch_size=batch, shards=args.shards, seed=0)
    for step in job.steps(loader, epochs=1):
        for x, y in step:
            step.backward(work.loss(work.model, x, y))
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main()
