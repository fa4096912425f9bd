"""Leaves the loop as soon as one worker has seen enough, and goes on with the next one."""

import argparse

import torch
from book import Book
from torch import nn
from torch.utils.data import TensorDataset

import pliant

ENOUGH = (5, 23)
"""Steps after which the two loops are left."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--raises", help="this worker fails in the body of the loop")
    args = parser.parse_args()

    torch.manual_seed(0)
    book = Book(args.out)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    job = pliant.join(model=model, optimizer=optimizer)
    data = TensorDataset(torch.randn(240, 4), torch.randint(2, (240,)))
    loader = pliant.Loader(data, batch_size=12, shards=3)

    for enough in ENOUGH:
        for step in job.steps(loader, epochs=2):
            for x, y in step:
                step.backward(nn.functional.cross_entropy(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
            book.write("value", "learned", [step.epoch, step.number])
            if args.raises == book.worker:
                raise RuntimeError("on purpose")
            if step.number >= enough:
                break
        loss = job.evaluate(loader, lambda batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
        book.write("value", "after", [job.step, loss])
    book.write("value", "weights", job.weights_sha256())


if __name__ == "__main__":
    main()
