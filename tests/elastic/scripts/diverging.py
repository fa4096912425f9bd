"""One worker leaves the others' path: a bit of a weight flips, or it adds something up in an order of its own."""

import os
import random

import torch
from book import Book, options

import pliant


def flip(model):
    """As a fault of the memory would."""
    with torch.no_grad():
        model[0].weight.view(torch.int32)[1, 2] ^= 1


def norm_in_any_order(model):
    """The norm of the gradients, added up in an order that is another one each time."""
    parts = torch.cat([param.grad.flatten() for param in model.parameters()]).square()
    exact = parts.sum()
    draw = random.Random(os.urandom(8))
    while True:
        order = torch.tensor(draw.sample(range(len(parts)), len(parts)))
        total = torch.zeros(())
        for part in parts[order]:
            total = total + part
        if total != exact:
            return total.sqrt()


def main():
    given = options(plant="flip", worker="w2", at=12, steps=60)
    book = Book(given.out)
    here = book.worker == given.worker
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    job = pliant.join(model=model, optimizer=optimizer)
    data = torch.randn(96, 8, generator=torch.Generator().manual_seed(1))
    loader = pliant.Loader(torch.utils.data.TensorDataset(data), batch_size=24, shards=6, seed=0)
    for step in job.steps(loader, steps=given.steps):
        planted = here and step.number == given.at
        if planted and given.plant == "flip":
            flip(model)
        for (x,) in step:
            step.backward(model(x).square().mean())
        norm = model[0].weight.grad.norm()
        if planted and given.plant == "order":
            norm = norm_in_any_order(model)
        for param in model.parameters():
            param.grad.div_(norm + 1.0)
        if planted:
            book.write("fault", "fired", step.number)
        optimizer.step()
        optimizer.zero_grad()
        book.write("step", "done", step.number)


if __name__ == "__main__":
    main()
