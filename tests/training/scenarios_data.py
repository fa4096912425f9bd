"""Kinds of data and weights that must give the same bits on every crew."""

from __future__ import annotations

import random

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from loops import Points, cross_entropy, loader, mlp, run
from static_crew import scenario


def tracked_mlp(*middle, **options):
    model = mlp(*middle, **options)
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.01)}


class Noisy(Points):
    """Draws from all three global generators for each sample."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.randn(6) * random.random() + float(np.random.rand()), y


def stream(shard, shards, epoch, start):
    """Shards end at different steps: shard 2 at once, the others after 3 to 7 samples."""
    data = Points(64)
    for number in range(start, 0 if shard == 2 else 3 + shard % 5):
        x, y = data[(shard * 8 + number + epoch) % 64]
        yield x + torch.randn(6), y


@scenario
def last_batch_incomplete():
    tracked = tracked_mlp()
    found = run(tracked, loader(Points(16 * 2 + 5)), cross_entropy(tracked["model"]))
    assert (found["samples"], found["steps"]) == (37, 3)
    return found


@scenario
def last_batch_incomplete_with_batch_norm_and_prefetch():
    tracked = tracked_mlp(torch.nn.BatchNorm1d(16))
    data = loader(Points(32 + 16 + 8), batch_size=32, num_workers=1)
    return run(tracked, data, cross_entropy(tracked["model"]))


@scenario
def last_batch_dropped():
    tracked = tracked_mlp()
    found = run(tracked, loader(Points(37), drop_last=True), cross_entropy(tracked["model"]))
    assert (found["samples"], found["steps"]) == (32, 2)
    return found


@scenario
def randomness_in_the_dataset():
    tracked = tracked_mlp()
    return run(tracked, loader(Noisy()), cross_entropy(tracked["model"]))


@scenario
def randomness_in_loader_processes():
    tracked = tracked_mlp(torch.nn.Dropout(0.2))
    return run(tracked, loader(Noisy(), num_workers=2), cross_entropy(tracked["model"]))


@scenario
def a_stream():
    tracked = tracked_mlp()
    return run(tracked, loader(stream), cross_entropy(tracked["model"]), epochs=2)


@scenario
def a_stream_in_loader_processes():
    tracked = tracked_mlp()
    return run(tracked, loader(stream, num_workers=2), cross_entropy(tracked["model"]), epochs=2)


@scenario
def a_stream_without_incomplete_batches():
    tracked = tracked_mlp()
    return run(tracked, loader(stream, drop_last=True), cross_entropy(tracked["model"]))


class Sentences:
    """Token lists of different lengths."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return {"tokens": [(index * 7 + i) % 11 for i in range(2 + index % 5)], "tags": (index, {"deep": [index / 2]})}


def padded(samples):
    longest = max(len(sample["tokens"]) for sample in samples)
    tokens = torch.zeros(len(samples), longest, dtype=torch.long)
    mask = torch.zeros(len(samples), longest, dtype=torch.bool)
    for row, sample in enumerate(samples):
        tokens[row, : len(sample["tokens"])] = torch.tensor(sample["tokens"])
        mask[row, : len(sample["tokens"])] = True
    return {"tokens": tokens, "mask": mask, "deep": [sample["tags"][1]["deep"] for sample in samples]}


@scenario
def token_weights_of_padded_dict_batches():
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Embedding(11, 8), torch.nn.Linear(8, 11))
    tracked = {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.01)}

    def loss_of(batch):
        losses = F.cross_entropy(model(batch["tokens"]).transpose(1, 2), batch["tokens"], reduction="none")
        return losses[batch["mask"]].mean()

    data = loader(Sentences(), collate_fn=padded)
    return run(tracked, data, loss_of, weight_of=lambda batch: batch["mask"].sum())


@scenario
def weights_that_are_no_integers_and_some_zero():
    tracked = tracked_mlp()

    def weight_of(batch):
        return float((batch[1] == 1).sum()) * 0.3

    return run(tracked, loader(), cross_entropy(tracked["model"]), weight_of=weight_of)


class Nested(Points):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return {"input": (x[:3], [x[3:], index]), "target": y}


@scenario
def nested_batches():
    tracked = tracked_mlp()
    model = tracked["model"]

    def loss_of(batch):
        first, (second, numbers) = batch["input"]
        return F.cross_entropy(model(torch.cat([first, second], 1)), batch["target"]) + numbers.double().mean() * 0

    return run(tracked, loader(Nested()), loss_of)


@scenario
def without_shuffling():
    tracked = tracked_mlp()
    return run(tracked, loader(shuffle=False, seed=9), cross_entropy(tracked["model"]))
