"""What all systems serve: the same bits wherever they are built. Imported by the servers, never by the harness."""

from __future__ import annotations

import os
from typing import Any

import torch
from examples.char_gpt import ALPHABET, CharGPT, Size
from torch import nn

from benchmarks.serving.shapes import ROWS


class NextCharacter(nn.Module):
    """The demo's GPT, asked for the character after a window of text: (rows, time) to (rows, characters)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gpt = CharGPT(size)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """The scores at the last place of each window."""
        return self.gpt(codes)[:, -1]


def build(name: str) -> nn.Module:
    """One of :data:`benchmarks.serving.shapes.ROWS`, in evaluation mode; the same bits on every call."""
    torch.manual_seed(0)
    if name == "mlp":  # 2.7 MB
        net: nn.Module = nn.Sequential(
            nn.Linear(96, 768), nn.ReLU(), nn.Linear(768, 768), nn.ReLU(), nn.Linear(768, 10)
        )
    elif name == "wide":  # 102 MB, most of it in one layer
        net = nn.Sequential(nn.Linear(96, 5000), nn.ReLU(), nn.Linear(5000, 5000), nn.ReLU(), nn.Linear(5000, 10))
    elif name == "cnn":
        net = _digits()
    elif name == "gpt":
        net = NextCharacter(Size())
    else:
        net = NextCharacter(Size(width=384, layers=6, heads=6, context=ROWS[name].shape[0]))
    return net.eval()


def _digits() -> nn.Module:
    from examples.digits_cnn import network  # noqa: PLC0415 - it imports scikit-learn, which no other model needs

    return network()


def as_tensor(name: str, rows: Any) -> torch.Tensor:
    """What came as JSON, as the model wants it."""
    return torch.tensor(rows, dtype=getattr(torch, ROWS[name].dtype))


def answer(output: torch.Tensor, *, with_pid: bool) -> Any:
    """What a server returns: rows as nested lists; on request with the process that computed them."""
    rows = output.tolist()
    return {"output": rows, "pid": [os.getpid()] * len(rows)} if with_pid else rows


CHARACTERS = len(ALPHABET)
