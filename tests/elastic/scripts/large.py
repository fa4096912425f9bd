"""A table that is large beside everything else, and how much memory workers take."""

import threading
import time

import torch
from book import Book, options

import pliant

PER_SAMPLE = 2_500


class Ids(torch.utils.data.Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index * PER_SAMPLE + torch.arange(PER_SAMPLE)


class Memory:
    """The most anonymous memory that this process had since it was asked last, in bytes."""

    def __init__(self):
        self.most = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while True:
            self.look()
            time.sleep(0.002)

    def look(self):
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("RssAnon"))
        self.most = max(self.most, int(line.split()[1]) << 10)
        return self.most

    def since(self):
        found, self.most = self.look(), 0
        return found


def main():
    given = options(steps=20, size=80, batch=8, dim=64)
    book = Book(given.out)
    torch.manual_seed(0)
    model = torch.nn.Linear(given.dim, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    table = pliant.Embedding("ids", given.dim, optimizer=pliant.RowAdagrad(lr=0.1))
    job = pliant.join(model=model, optimizer=optimizer, table=table)
    memory = Memory()
    loader = pliant.Loader(Ids(given.size), batch_size=given.batch, shards=8, seed=3)
    for step in job.steps(loader, steps=given.steps):
        book.write("note", "begins", [job.is_main, step.number, memory.since()])
        for ids in step:
            step.backward(model(table(ids)).mean())
        optimizer.step()
        optimizer.zero_grad()
        book.write("note", "computed", [job.is_main, step.number, memory.since()])
    book.write("end", "weights", job.weights_sha256())


if __name__ == "__main__":
    main()
