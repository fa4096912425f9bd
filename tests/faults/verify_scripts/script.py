"""A small training script; ``--plant`` puts one cause of different bits into it, of those that users run into."""

import argparse
import itertools
import os

import torch

import pliant

parser = argparse.ArgumentParser()
parser.add_argument("--plant", default="")
parser.add_argument("--steps", type=int, default=1000)
given = parser.parse_args()
plant = given.plant
generator = torch.Generator().manual_seed(7)
calls = torch.zeros(())


class RoughSum(torch.autograd.Function):
    """As a kernel whose threads add in whatever order they arrive."""

    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return x.sum()

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.full(ctx.shape, 1.0 + int.from_bytes(os.urandom(2)) * 2.0**-22)


class Noise(torch.nn.Module):
    """Adds noise whose size is an attribute that nobody tracks, and that the loop lowers."""

    def __init__(self):
        super().__init__()
        self.size = 0.5

    def forward(self, x):
        return x + self.size * torch.randn_like(x)


class Points(torch.utils.data.Dataset):
    def __init__(self):
        self.x = torch.randn(240, 64, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        own = generator if plant == "own generator" else None
        return self.x[index] + 0.1 * torch.randn(64, generator=own)


def stream(shard, shards, epoch, start):
    """Gives every shard all samples, as a dataset does that does not know of shards."""
    return itertools.islice(iter(Points().x), start, None)


def main():
    if plant != "unseeded":
        torch.manual_seed(0)
    layers = [torch.nn.Linear(64, 64), torch.nn.BatchNorm1d(64), Noise(), torch.nn.Tanh(), torch.nn.Linear(64, 1)]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    job = pliant.join(model=model, optimizer=optimizer)
    if plant == "threads" and job.session.crew.worker == "w2":
        torch.set_num_threads(2)
    loader = pliant.Loader(stream if plant == "stream" else Points(), batch_size=32, shards=4)
    for step in job.steps(loader, steps=given.steps):
        for x in step:
            y = model(x)
            if plant == "counter":
                calls.add_(1)
                y = y * (1 + 0.01 * calls)
            loss = RoughSum.apply(y.square()) / len(x) if plant == "rough kernel" else y.square().mean()
            step.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if plant == "untracked":
            model[2].size *= 0.9


if __name__ == "__main__":
    main()
