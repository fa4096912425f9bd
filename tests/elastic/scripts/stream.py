"""An iterable data set: streams of different lengths, read from any sample on."""

import time

import torch
from book import Book, options

import pliant


def stream(shard, shards, epoch, start):
    """Shard v has 30 + 2 v samples; numbered so that none occurs twice in an epoch."""
    for number in range(start, 30 + 2 * shard):
        sample = shard * 1000 + number
        yield sample, torch.full((3,), float(sample % 17 + epoch)) + 0.1 * torch.randn(3)


def main():
    given = options(delay=0.0, epochs=8, loaders=0)
    book = Book(given.out)
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    job = pliant.join(model=model, optimizer=optimizer)
    loader = pliant.Loader(stream, batch_size=24, shards=6, seed=4, num_workers=given.loaders)
    for step in job.steps(loader, epochs=given.epochs):
        for samples, x in step:
            if job.session.crew.stateful:
                book.shard(step, samples)
            time.sleep(given.delay)
            step.backward(model(x).square().mean())
        optimizer.step()
        optimizer.zero_grad()
        if job.session.crew.stateful:
            book.digest(job, step, model, optimizer)
    book.write("end", "weights", job.weights_sha256())


if __name__ == "__main__":
    main()
