"""A convolutional network with BatchNorm on scikit-learn's handwritten digits, evaluated after every epoch.

Plain, in one process:        python examples/digits_cnn.py
Elastic, on 1 to 4 workers:   pliant run --workers 1:4 examples/digits_cnn.py
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import pliant


def digits() -> tuple[TensorDataset, TensorDataset]:
    """1,500 images of 8 x 8 to learn from, 297 to be tested on."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    y = torch.tensor(labels)
    return TensorDataset(x[:1500], y[:1500]), TensorDataset(x[1500:], y[1500:])


def network() -> nn.Module:
    """(batch, 1, 8, 8) to (batch, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(64 * 4 * 4, 10),
    )


def main() -> None:
    """Train, and print the accuracy on unseen images after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()

    torch.manual_seed(0)
    training, testing = digits()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    job = pliant.join(model=model, optimizer=optimizer)
    loader = pliant.Loader(training, batch_size=60, shards=4, seed=0)
    unseen = pliant.Loader(testing, batch_size=60, shards=4, seed=0)

    def accuracy(batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return (model(x).argmax(dim=1) == y).float().mean()

    for epoch in range(args.epochs):
        for step in job.steps(loader, epochs=1):
            for x, y in step:
                step.backward(F.cross_entropy(model(x), y))
            optimizer.step()
            optimizer.zero_grad()
        score = job.evaluate(unseen, accuracy)
        if job.is_main:
            print(f"epoch {epoch}   accuracy on unseen digits {score:.3f}", flush=True)


if __name__ == "__main__":
    main()
