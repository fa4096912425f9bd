"""The same load with torch's own means, in one process: an EmbeddingBag with sparse gradients, and Adagrad."""

from __future__ import annotations

import torch

from benchmarks.servers.contest import GATE
from benchmarks.servers.lookups import DIM, LR, POOL, Head, bags, lookup_arguments, zipf_batches
from benchmarks.turns import Turnstile


def main() -> None:
    """Train in turns."""
    args = lookup_arguments()
    torch.set_num_threads(1)
    table = torch.nn.EmbeddingBag(args.rows, DIM, mode="sum", sparse=True)
    torch.nn.init.normal_(table.weight, std=0.01)
    head, starts, pool = Head(), bags(), zipf_batches(args.rows)
    optimizers = [torch.optim.Adagrad(table.parameters(), lr=LR), torch.optim.SGD(head.parameters(), lr=LR)]
    turnstile = Turnstile(args.turns, GATE, warm_up=args.warm_up, turn_steps=args.turn_steps)
    for step in range(args.steps):
        head(table(pool[step % POOL], starts)).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        turnstile.step_done()


if __name__ == "__main__":
    main()
