"""Things to make checkpoints of."""

from collections import OrderedDict

import numpy as np
import torch

from pliant.transfer.checkpoint_save import Staging, take_snapshot, write_checkpoint

POSITION = {
    "call": 2,
    "passes": 9,
    "step": 7,
    "step_of_call": 3,
    "epoch": 1,
    "step_of_epoch": 2,
    "samples": 640,
    "loss": 0.25,
    "ended": [["steps", 1], ["evaluate", {"right": 0.5, "odd": float("nan")}]],
}


class Tied(torch.nn.Module):
    """A tied weight, a shared submodule, buffers of all kinds, extra state, an empty and a 0-dim parameter."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 4)
        self.again = self.body
        self.head = torch.nn.Linear(4, 4)
        self.head.weight = self.body.weight
        self.norm = torch.nn.BatchNorm1d(4)
        self.empty = torch.nn.Parameter(torch.empty(0, 3))
        self.scale = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.bfloat16))
        self.phase = torch.nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.register_buffer("cache", torch.arange(5.0), persistent=False)
        self.register_buffer("unset", None)
        self.count = 3

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]


class Odd:
    """State of many types; dtypes that safetensors does not have among them."""

    def __init__(self, filled=True):
        generator = torch.Generator().manual_seed(4)
        values = torch.randn(6, generator=generator, dtype=torch.float64)
        self.state = {}
        if filled:
            self.state = {
                "wide": torch.complex(values, -values),
                "eighth": values.to(torch.float8_e4m3fn),
                "fnuz": values.to(torch.float8_e5m2fnuz),
                "scale": torch.tensor([1.0, 2.0]).to(torch.float8_e8m0fnu),
                "unsigned": torch.tensor([1, 65535], dtype=torch.uint16),
                "flags": torch.tensor([True, False]),
                "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
                "turned": torch.arange(6).reshape(2, 3).t(),
                "array": np.arange(4, dtype=">i4"),
                "nothing": torch.empty(0, dtype=torch.complex128),
                3: [values, (values, {"x": 1 << 70})],
                "plain": OrderedDict(a=None, b=b"\0", c="\ud800", d=float("nan")),
                "__metadata__": torch.zeros(1),
            }

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def make(*, seed=0, filled=True):
    """A model that has trained a little, its optimizer, and something odd."""
    torch.manual_seed(seed)
    model = Tied()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    if filled:
        out = model.norm(model.head(model.again(torch.randn(8, 4)))) * model.scale.float()
        (out.square().sum() + model.phase.abs().sum()).backward()
        optimizer.step()
        scheduler.step()
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "odd": Odd(filled=filled)}


def save(directory, tracked=None, *, step=7, keep=3):
    """Write a checkpoint; returns where it is."""
    snapshot = take_snapshot(tracked or make(), POSITION | {"step": step}, job="train", staging=Staging())
    return write_checkpoint(directory, snapshot, keep=keep)[0]
