"""The elastic side of a comparison; run by ``pliant run``. See benchmarks/train_ddp.py for the other side."""

from __future__ import annotations

import torch

import pliant
from benchmarks.memory import PeakMemory
from benchmarks.turns import Turnstile
from benchmarks.workload import build, workload_arguments


def main() -> None:
    """Train for a fixed number of steps."""
    args = workload_arguments().parse_args()
    batch = args.shards * args.per_shard
    work = build(args.model, samples=args.steps * batch, context=args.context)
    memory = PeakMemory()
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=1e-3)
    job = pliant.join(model=work.model, optimizer=optimizer)
    loader = pliant.Loader(work.dataset, batch_size=batch, shards=args.shards, seed=0)
    turnstile: Turnstile | None = None
    for step in job.steps(loader, epochs=1):
        for x, y in step:
            step.backward(work.loss(work.model, x, y))
        optimizer.step()
        optimizer.zero_grad()
        if step.is_main:
            turnstile = turnstile or Turnstile(args.turns, "pliant", warm_up=args.warm_up, turn_steps=args.turn_steps)
            turnstile.step_done()
    memory.write(args.turns, "pliant")


if __name__ == "__main__":
    main()
