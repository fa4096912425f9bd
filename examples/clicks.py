"""Click prediction, wide and deep, on a generated log: users, items and tags are rows of tables without a size.

Plain, in one process:   python examples/clicks.py
With parameter servers:  pliant run --strategy parameter-server --servers 2:4 --workers 2:4 examples/clicks.py
On a small real data set (it comes with scikit-learn):  python examples/clicks.py --data tumours --epochs 4
"""

from __future__ import annotations

import argparse
import importlib

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import pliant

TAGS = 5
"""Most tags of an item; absent ones are -1."""


class Log(Dataset[dict[str, torch.Tensor]]):
    """A click log as Criteo's is in kind: few ids are seen often and most hardly ever (Zipf), numbers are skewed.

    Whether somebody clicks depends on hidden tastes of the user and the item, and on two of the numbers. All is a
    function of the sample's number, so nothing is stored.
    """

    def __init__(self, size: int, *, first: int = 0) -> None:
        self.size, self.first = size, first

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(self.first + index)
        user, item = zipf(2, draw, most=1_000_000)
        tags = (item * 31 + torch.arange(TAGS)) % 1000
        kept = torch.arange(TAGS) <= item % TAGS
        numbers = torch.rand(4, generator=draw).log().neg()
        liking = taste(user, 1) * taste(item, 2) + taste(item, 3) + 0.5 * (numbers[0] - numbers[1])
        clicked = torch.rand((), generator=draw) < torch.sigmoid(2 * liking - 1)
        return {
            "user": user,
            "item": item,
            "tags": torch.where(kept, tags, -1),
            "numbers": numbers,
            "clicked": clicked.float(),
        }


def zipf(count: int, draw: torch.Generator, *, most: int) -> torch.Tensor:
    """(count,) ids from 0: the k-th is drawn about in proportion to 1 / (k + 1)."""
    return (most ** torch.rand(count, generator=draw, dtype=torch.float64) - 1).long()


def taste(ids: torch.Tensor, kind: int) -> torch.Tensor:
    """A hidden number between -1 and 1 for each id."""
    return torch.sin((ids.double() + 1) * (12.9898 + kind) * 78.233).float()


class Tumours(Dataset[dict[str, torch.Tensor]]):
    """Breast cancer in Wisconsin (Street, Wolberg and Mangasarian, 1993): is a tumour malignant ("clicked")?

    569 tumours, of which every fourth is kept for ``unseen``. Their 30 measures are made into ids: each is cut into
    tenths, and two that are crossed stand for the user, two others for the item, five for the tags.
    """

    NUMBERS, USER, ITEM = (0, 1, 4, 8), (20, 21), (23, 27)
    TAGGED = (6, 10, 22, 24, 28)

    def __init__(self, *, unseen: bool) -> None:
        found = importlib.import_module("sklearn.datasets").load_breast_cancer()
        measures = torch.from_numpy(found.data).float()
        kept = torch.arange(len(measures)) % 4 == 0
        known = measures[~kept]  # what is unseen has no say in where the tenths end
        ends = known.quantile(torch.linspace(0, 1, 11)[1:-1], dim=0)
        tenths = (measures[:, :, None] > ends.T).sum(dim=2)
        mine = kept if unseen else ~kept
        numbers = (measures - known.mean(dim=0)) / known.std(dim=0)
        self.numbers = numbers[mine][:, self.NUMBERS]
        self.tenths = tenths[mine]
        self.clicked = torch.from_numpy(found.target == 0)[mine].float()

    def __len__(self) -> int:
        return len(self.clicked)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tenths = self.tenths[index]
        return {
            "user": tenths[self.USER[0]] * 10 + tenths[self.USER[1]],
            "item": tenths[self.ITEM[0]] * 10 + tenths[self.ITEM[1]],
            "tags": tenths[list(self.TAGGED)] + 10 * torch.arange(TAGS),
            "numbers": self.numbers[index],
            "clicked": self.clicked[index],
        }


class WideAndDeep(nn.Module):
    """A linear model over ids beside a network over their embeddings (Cheng et al., DLRS 2016)."""

    def __init__(self) -> None:
        super().__init__()
        rate = pliant.RowAdagrad(lr=0.05)
        self.users = pliant.Embedding("users", dim=16, optimizer=rate)
        self.items = pliant.Embedding("items", dim=16, optimizer=rate)
        self.tags = pliant.Embedding("tags", dim=8, optimizer=rate)
        self.wide = pliant.Embedding("wide", dim=1, optimizer=rate, init=pliant.RowInit(kind="zeros"))
        self.deep = nn.Sequential(nn.Linear(16 + 16 + 8 + 4, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.out = nn.Linear(32, 1)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(n,): the logit of a click."""
        present = batch["tags"] >= 0
        starts = present.sum(dim=1).cumsum(0) - present.sum(dim=1)
        tags = self.tags(batch["tags"][present], starts, mode="mean")
        pairs = torch.stack([batch["user"], batch["item"]], dim=1)
        deep = self.deep(
            torch.cat([self.users(batch["user"]), self.items(batch["item"]), tags, batch["numbers"]], dim=1)
        )
        return (self.out(deep) + self.wide(pairs * 2 + torch.arange(2)).sum(dim=1)).squeeze(1)


def main() -> None:
    """Train, and print the loss on unseen samples after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=["generated", "tumours"], default="generated")
    parser.add_argument("--samples", type=int, default=20_000, help="of the generated log")
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()

    torch.manual_seed(0)
    model = WideAndDeep()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    job = pliant.join(model=model, optimizer=optimizer)
    if args.data == "tumours":
        loader = pliant.Loader(Tumours(unseen=False), batch_size=40, shards=4, seed=0)
        unseen = pliant.Loader(Tumours(unseen=True), batch_size=40, shards=4, seed=0)
    else:
        loader = pliant.Loader(Log(args.samples), batch_size=400, shards=4, seed=0)
        unseen = pliant.Loader(Log(4_000, first=1_000_000), batch_size=400, shards=4, seed=0)

    def loss_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(model(batch), batch["clicked"])

    for epoch in range(args.epochs):
        for step in job.steps(loader, epochs=1):
            for batch in step:
                step.backward(loss_of(batch))
            optimizer.step()
            optimizer.zero_grad()
        loss = job.evaluate(unseen, loss_of)
        if job.is_main:
            print(f"epoch {epoch}   loss on unseen samples {loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
