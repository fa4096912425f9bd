"""Many calls of ``steps`` and ``evaluate``, with two loaders: a newcomer runs through those that have ended."""

import time

import torch
from book import Book, options
from torch.nn.functional import cross_entropy

import pliant


def data(size, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 6, generator=generator)
    return torch.utils.data.TensorDataset(torch.arange(size), x, (x.sum(1) > 0).long())


def main():
    given = options(delay=0.0, phases=4, steps=12)
    book = Book(given.out)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Dropout(0.2), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    job = pliant.join(model=model, optimizer=optimizer)
    loaders = [pliant.Loader(data(90, seed=5), batch_size=20, shards=4, seed=1)]
    loaders.append(pliant.Loader(data(130, seed=6), batch_size=24, shards=8, seed=2))
    held_out = pliant.Loader(data(77, seed=7), batch_size=16, shards=8)

    def measure(batch):
        book.hold("evaluate")
        time.sleep(given.delay)
        _, x, y = batch
        output = model(x)
        return {"loss": cross_entropy(output, y), "right": (output.argmax(1) == y).float().mean()}

    for phase in range(given.phases):
        book.hold(f"phase{phase}")
        for step in job.steps(loaders[phase % 2], steps=given.steps):
            for samples, x, y in step:
                if job.session.crew.stateful:
                    book.shard(step, samples)
                time.sleep(given.delay)
                step.backward(cross_entropy(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
            if job.session.crew.stateful:
                book.digest(job, step, model, optimizer)
        book.hold(f"measure{phase}")
        book.write("measured", phase, job.evaluate(held_out, measure))
    book.write("end", "weights", job.weights_sha256())


if __name__ == "__main__":
    main()
