"""Two tables beside dense layers: ragged tags, ids of any sign, and ids that are seen once."""

import time

import torch
from book import Book, options
from torch.nn.functional import binary_cross_entropy_with_logits

import pliant


class Clicks(torch.utils.data.Dataset):
    """Each sample has an id of its own besides those that many have."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        draw = torch.Generator().manual_seed(index)
        user = (60 ** torch.rand((), generator=draw) - 30).long()
        tags = torch.randint(0, 40, (3,), generator=draw)
        count = index % 4
        return index, torch.stack([user, torch.tensor(1 << 40) + index]), tags, count, (user % 2).float()


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.users = pliant.Embedding("users", 6, optimizer=pliant.RowAdam(lr=0.05))
        self.dense = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def forward(self, ids, bags):
        return self.dense(torch.cat([self.users(ids).flatten(1), bags], dim=1)).squeeze(1)


def main():
    given = options(steps=10, delay=0.0, size=303, batch=48, shards=8)
    book = Book(given.out)
    book.hold("start")
    torch.manual_seed(0)
    model = Model()
    tags = pliant.Embedding("tags", 4, optimizer=pliant.RowAdagrad(lr=0.1), min_count=2, expire_after_steps=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    job = pliant.join(model=model, optimizer=optimizer, tags=tags)
    loader = pliant.Loader(Clicks(given.size), batch_size=given.batch, shards=given.shards, seed=3)
    for step in job.steps(loader, steps=given.steps):
        rehearsal = not job.session.crew.stateful
        for samples, ids, tag_ids, counts, clicked in step:
            if not rehearsal:
                book.shard(step, samples)
                book.hold("shard")
                time.sleep(given.delay)
            kept = torch.arange(3) < counts[:, None]
            bags = tags(tag_ids[kept], counts.cumsum(0) - counts, mode="mean")
            step.backward(binary_cross_entropy_with_logits(model(ids, bags), clicked))
        optimizer.step()
        optimizer.zero_grad()
        if not rehearsal:
            book.digest(job, step, model, optimizer, tags)
    book.write("end", "weights", job.weights_sha256())


if __name__ == "__main__":
    main()
