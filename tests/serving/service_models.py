"""Models for the tests, which can be told to misbehave by their input."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import ClassVar

import torch

import pliant

RAISES, DIES = 666.0, 999.0
DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64",
)  # fmt: skip


class Double(pliant.Model):
    inputs: ClassVar = {"x": ("float32", (3,))}
    outputs: ClassVar = {"output": ("float32", (3,))}

    def load(self):
        self.hold = Path(os.environ["SERVICE_GATE"], "hold")
        self.held = Path(os.environ["SERVICE_GATE"], "held")

    def predict(self, batch):
        if (batch == RAISES).any():
            raise ValueError(f"row {int((batch == RAISES).any(dim=1).nonzero()[0])} is poison")
        if (batch == DIES).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hold.exists() and batch.any():  # not while it is warmed up
            self.held.with_name(f"held-{os.getpid()}").touch()
            while self.hold.exists():
                time.sleep(0.005)
        return batch * 2


class Sum(pliant.Model):
    """Several inputs, several outputs, nothing declared of them."""

    def predict(self, batch):
        return {"sum": batch["a"] + batch["b"], "difference": batch["a"] - batch["b"]}


class Echo(pliant.Model):
    """An input and an output of each datatype, which has the datatype's name."""

    inputs: ClassVar = {name: (name, (2,)) for name in DATATYPES}
    outputs = inputs

    def predict(self, batch):
        return batch


class Three(pliant.Model):
    """Three inputs of different datatypes and ranks."""

    inputs: ClassVar = {"a": ("float32", (3,)), "b": ("bool", (2,)), "c": ("int64", ())}
    outputs: ClassVar = {"output": ("float32", (3,))}

    def predict(self, batch):
        return batch["a"] * 2


class Counting(pliant.Model):
    def predict(self, batch):
        for number in range(3):
            yield batch + number
        if (batch == RAISES).any():
            raise ValueError("in the middle")


class CountingLater(pliant.Model):
    async def predict(self, batch):
        for number in range(3):
            yield batch + number


class Crooked(pliant.Model):
    """Forgets a row."""

    def predict(self, batch):
        return batch[1:]


class Broken(pliant.Model):
    def load(self):
        raise RuntimeError("no weights today")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        with torch.no_grad():
            self.linear.weight.fill_(0.5)
            self.linear.bias.zero_()

    def forward(self, x):
        return self.linear(x)


class Wide(pliant.Model):
    """Wide enough for the number of rows to change the order of additions."""

    inputs: ClassVar = {"x": ("float32", (64,))}

    def load(self):
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64)).eval()

    def predict(self, batch):
        return self.net(batch)


class Scale(torch.nn.Module):
    """One weight: a version is told by its answers."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))


class Scaled(pliant.Model):
    inputs: ClassVar = {"x": ("float32", (2,))}

    def load(self):
        self.net = self.weights(Scale())

    def predict(self, batch):
        time.sleep(0.002)
        return batch * self.net.factor


class SlowFirst(Scaled):
    """The first one that is loaded stands still in that until it is ended."""

    def load(self):
        with contextlib.suppress(FileExistsError):
            Path(os.environ["SERVICE_GATE"], "held-first").touch(exist_ok=False)
            while True:
                time.sleep(0.005)
        super().load()


class Heavy(Double):
    """64 MB of weights, all of which are read for every request."""

    def load(self):
        super().load()
        self.weight = torch.ones(16 << 20)

    def predict(self, batch):
        return super().predict(batch) * self.weight.mean()


class Tagger(Double):
    """Texts of any length: a row for each token, and one for the mean of their embeddings."""

    inputs: ClassVar = {"tokens": ("int64", ("length",))}
    outputs: ClassVar = {"tags": ("float32", ("length", 64)), "mean": ("float32", (64,))}
    pad: ClassVar = {"length": (8, 16)}

    def load(self):
        super().load()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(1000, 64)
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64)).eval()

    def predict(self, batch, length):
        if batch.any():  # not while it is warmed up
            with self.hold.with_name("shapes").open("a") as file:
                file.write(f"{list(batch.shape)}\n")
        super().predict(batch)
        embedded = self.embed(batch)
        inside = torch.arange(batch.shape[1]) < length[:, None]
        mean = (embedded * inside[..., None]).sum(dim=1) / length[:, None]
        return self.net(embedded), self.net(mean)


class Clouds(Double):
    """The points of all requests behind each other, however many each has."""

    inputs: ClassVar = {"points": ("float32", (-1, 2))}
    outputs: ClassVar = {}

    def collate(self, requests):
        return torch.cat([points.flatten(0, 1) for points in requests])

    def predict(self, points):
        with self.hold.with_name("shapes").open("a") as file:
            file.write(f"{list(points.shape)}\n")
        return super().predict(points)

    def split(self, result, requests):
        parts = result.split([points.shape[0] * points.shape[1] for points in requests])
        return [part.view(points.shape).sum(dim=1) for part, points in zip(parts, requests, strict=True)]
