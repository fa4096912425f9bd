"""A table on parameter servers; run by ``pliant run``."""

from __future__ import annotations

import torch

import pliant
from benchmarks.servers.contest import GATE
from benchmarks.servers.lookups import DIM, LR, Head, Ids, bags, fill_batches, lookup_arguments
from benchmarks.turns import Turnstile


class Model(torch.nn.Module):
    """The table and the loss over it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = pliant.Embedding("rows", dim=DIM, optimizer=pliant.RowAdagrad(lr=LR))
        self.head = Head()

    def forward(self, ids: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """The loss of a batch."""
        loss: torch.Tensor = self.head(self.table(ids, starts, mode="sum"))
        return loss


def main() -> None:
    """Fill the table, then train in turns."""
    args = lookup_arguments()
    fill, starts = fill_batches(args.rows), bags()
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    job = pliant.join(model=model, optimizer=optimizer)
    ids = Ids(args.rows, fill=fill, batches=fill + args.steps)
    loader = pliant.Loader(ids, batch_size=1, shards=1, seed=0, shuffle=False)
    turnstile: Turnstile | None = None
    for step in job.steps(loader, epochs=1):
        for batch in step:
            step.backward(model(batch[0], starts))
        optimizer.step()
        optimizer.zero_grad()
        turnstile = turnstile or Turnstile(args.turns, GATE, warm_up=fill + args.warm_up, turn_steps=args.turn_steps)
        turnstile.step_done()


if __name__ == "__main__":
    main()
