"""The script of the storm: an MLP of a third of a million parameters; writes a line for each shard and commit."""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import pliant
from benchmarks.peers.book import Book

BATCH, SHARDS, STEPS_PER_EPOCH = 192, 12, 250


def main() -> None:
    """Train for whole epochs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--books", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    args = parser.parse_args()
    book = Book(args.books)
    torch.manual_seed(0)
    size = BATCH * STEPS_PER_EPOCH
    x = torch.randn(size, 64, generator=torch.Generator().manual_seed(1))
    dataset = TensorDataset(torch.arange(size), x, (x[:, :8].sum(dim=1) > 0).long())
    model = nn.Sequential(
        nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 2)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    job = pliant.join(model=model, optimizer=optimizer)
    loader = pliant.Loader(dataset, batch_size=BATCH, shards=SHARDS)
    for step in job.steps(loader, epochs=args.epochs):
        book.muted = getattr(job.session.crew, "rehearsing", False)  # a newcomer's throw-away step
        mine: list[int] = []
        for ids, inputs, targets in step:
            book.computes(step.number, ids)
            mine += ids.tolist()
            step.backward(cross_entropy(model(inputs), targets))
        optimizer.step()
        optimizer.zero_grad()
        book.commit(step.number, mine)
    book.end(args.epochs * STEPS_PER_EPOCH, model)


if __name__ == "__main__":
    main()
