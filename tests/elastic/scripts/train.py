"""The script of most tests: BatchNorm, dropout, AdamW, a schedule, an EMA, clipping, an uneven last batch."""

import time

import torch
from book import Book, options
from inside import hold_inside
from torch.nn.functional import cross_entropy

import pliant


class Samples(torch.utils.data.Dataset):
    """Knows which sample is which; augments with noise from the shard's stream."""

    def __init__(self, size):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(size, 12, generator=generator)
        self.y = (self.x[:, :3].sum(1) > 0).long()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return index, self.x[index] + 0.01 * torch.randn(12), self.y[index]


class Average:
    """An exponential moving average of the weights, with state of its own; ``book`` can hold its transfer."""

    def __init__(self, model, book):
        self.values = [value.detach().clone() for value in model.parameters()]
        self.updates = 0
        self.book = book

    def update(self, model):
        self.updates += 1
        for mine, value in zip(self.values, model.parameters(), strict=True):
            mine.mul_(0.9).add_(value.detach(), alpha=0.1)

    def state_dict(self):
        return {"values": self.values, "updates": self.updates}

    def load_state_dict(self, state):
        self.book.hold("load")
        self.values = [value.clone() for value in state["values"]]
        self.updates = state["updates"]


class Gate:
    """Its state takes as long to read as the test wants, and as many megabytes to keep."""

    def __init__(self, book, megabytes):
        self.book = book
        self.ballast = torch.zeros(megabytes << 18)

    def state_dict(self):
        self.book.hold("state")
        return {"nothing": 0, "ballast": self.ballast}

    def load_state_dict(self, state):
        assert state["nothing"] == 0
        assert state["ballast"].shape == self.ballast.shape


def main():
    given = options(steps=10, delay=0.0, size=303, batch=48, shards=8, loaders=0, ballast=0, eats=0)
    book = Book(given.out)
    hold_inside(book)
    if given.eats:
        book.eat_when_asked()
    book.hold("start")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(12, 24),
        torch.nn.BatchNorm1d(24),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.1),
        torch.nn.Linear(24, 2),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 25, gamma=0.9)
    average, gate = Average(model, book), Gate(book, given.ballast)
    job = pliant.join(model=model, optimizer=optimizer, scheduler=scheduler, average=average, gate=gate)
    loader = pliant.Loader(
        Samples(given.size), batch_size=given.batch, shards=given.shards, seed=3, num_workers=given.loaders
    )
    newcomer = True
    for step in job.steps(loader, steps=given.steps):
        rehearsal, newcomer = newcomer and not job.session.crew.stateful, False
        if rehearsal:
            book.hold("rehearsal")
        for samples, x, y in step:
            if not rehearsal:
                book.shard(step, samples)
                book.hold("shard")
                book.spin()
                time.sleep(given.delay)
            step.backward(cross_entropy(model(x), y))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        if not rehearsal:
            average.update(model)
            book.digest(job, step, model, optimizer, scheduler, average)
    book.write("end", "weights", job.weights_sha256())
    book.write("end", "agreed", job.session.position.agreed)


if __name__ == "__main__":
    main()
