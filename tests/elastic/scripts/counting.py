"""Its weights count: learning from a sample takes 1 from the weights of that sample, in three ways, whoever does it."""

import argparse
import time
from pathlib import Path

import torch
from book import Book
from torch import nn
from torch.utils.data import Dataset

import pliant


class Numbers(Dataset):
    """Each sample is its own number."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index


class Counts(nn.Module):
    """Two parameters with an optimizer each, and a table."""

    def __init__(self, size):
        super().__init__()
        self.one = nn.Parameter(torch.zeros(size))
        self.two = nn.Parameter(torch.zeros(size, 3))
        self.probe = nn.Parameter(torch.zeros(1))
        self.rows = pliant.Embedding("rows", 2, optimizer=pliant.RowSGD(lr=1.0), init=pliant.RowInit("zeros"))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, numbers):
        self.calls += 1
        return self.one[numbers].sum() + self.two[numbers].sum() + self.rows(numbers).sum() + 0 * self.probe.sum()


class Tally:
    """Something else that is tracked."""

    def __init__(self):
        self.loops = 0

    def state_dict(self):
        return {"loops": self.loops}

    def load_state_dict(self, state):
        self.loops = state["loops"]


def dawdle(until):
    """A job that is in no hurry to end before the test has done all that it wants to do to it."""
    for _ in range(20):
        if until is None or until.exists():
            return
        time.sleep(0.025)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--samples", type=int, default=230)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--slow-until", type=Path, help="take half a second for each shard until this file is there")
    args = parser.parse_args()

    book = Book(args.out)
    model = Counts(args.samples)
    one = torch.optim.SGD([model.one, model.probe], lr=1.0)
    two = torch.optim.SGD([model.two], lr=1.0)
    clock = torch.optim.SGD([model.probe], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(clock, lambda step: 1.0 / (1 + step))
    tally = Tally()
    job = pliant.join(model=model, one=one, two=two, clock=clock, schedule=schedule, tally=tally)
    loader = pliant.Loader(Numbers(args.samples), batch_size=24, shards=4, seed=3)
    everything = pliant.Loader(Numbers(args.samples), batch_size=50, shards=2, shuffle=False)

    for _ in range(2):
        for step in job.steps(loader, epochs=args.epochs // 2):
            numbers = []
            for batch in step:
                numbers = batch.tolist()
                step.backward(model(batch))
                dawdle(args.slow_until)
                book.hold("shard")
            one.step()
            book.hold("between")
            two.step()
            book.write("value", "rate", [step.number, clock.param_groups[0]["lr"]])
            clock.step()
            schedule.step()
            book.write("value", "learned", [step.number, step.epoch, numbers])
            for optimizer in (one, two, clock):
                optimizer.zero_grad()

        tally.loops += 1
        mean = job.evaluate(everything, lambda batch: model.one[batch].mean())
        book.write("value", "mean", mean)

    book.write("value", "loops", tally.loops)
    rows = model.rows(torch.arange(args.samples)).detach()
    book.write("value", "counts", [model.one.tolist(), model.two.tolist(), rows.tolist()])


if __name__ == "__main__":
    main()
