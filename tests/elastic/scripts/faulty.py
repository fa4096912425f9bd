"""Every mistake a script can make that only shows once it runs; ``--fault`` says which, ``--worker`` on whom."""

import time

import torch
from book import Book, options

import pliant


class MistakeError(Exception):
    """The user's own."""


def mistake(book):
    book.write("fault", "fired", True)
    raise MistakeError("the user's own mistake")


def main():
    given = options(fault="", worker="w1", delay=0.01, shards=4)
    book = Book(given.out)
    here = book.worker == given.worker
    if given.fault == "at once":
        mistake(book)
    if given.fault == "never trains":
        return
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2 if given.fault == "shape" and here else 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    job = pliant.join(model=model, optimizer=optimizer)
    shards = 8 if given.fault == "shards" and here else given.shards
    loader = pliant.Loader(torch.utils.data.TensorDataset(torch.randn(64, 3)), batch_size=16, shards=shards)
    for step in job.steps(loader, epochs=200):
        for (x,) in step:
            time.sleep(given.delay)
            loss = model(x).square().mean()
            if given.fault == "nan" and step.number == 5:
                loss = loss * float("nan")
            step.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if given.fault == "at a step" and here and step.number == 5:
            mistake(book)


if __name__ == "__main__":
    main()
