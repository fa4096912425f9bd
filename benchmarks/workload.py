"""What systems train: the demo's GPT at 10.7 million parameters, MLPs of 1, 10 and 39 million, on fixed random data."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from examples.char_gpt import ALPHABET, CharGPT, Size
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

CONTEXT = 128
FEATURES = 256
WIDTHS = {"mlp": (768, 768, 256), "wide": (2048, 2048, 2048, 512), "huge": (4096, 4096, 4096, 1024)}
"""Of the hidden layers."""


@dataclass(frozen=True)
class Workload:
    """A model and data of a fitting shape. ``loss(x, y)`` is the mean over a micro-batch."""

    model: nn.Module
    dataset: TensorDataset

    def loss(self, module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cross entropy; the GPT has one prediction for each place of the window."""
        return functional.cross_entropy(module(x).flatten(0, -2), y.flatten())


def build(name: str, *, samples: int, context: int = CONTEXT) -> Workload:
    """``gpt`` or one of :data:`WIDTHS`, with a dataset of ``samples``; the same bits on every call."""
    torch.manual_seed(0)
    stream = torch.Generator().manual_seed(1)
    if name == "gpt":
        model: nn.Module = CharGPT(Size(width=384, layers=6, heads=6, context=context, dropout=0.0))
        text = torch.randint(len(ALPHABET), (samples, context + 1), generator=stream)
        return Workload(model, TensorDataset(text[:, :-1].contiguous(), text[:, 1:].contiguous()))
    before = FEATURES
    layers: list[nn.Module] = []
    for width in WIDTHS[name]:
        layers += [nn.Linear(before, width), nn.ReLU()]
        before = width
    model = nn.Sequential(*layers, nn.Linear(before, 10))
    x = torch.randn(samples, FEATURES, generator=stream)
    return Workload(model, TensorDataset(x, torch.randint(10, (samples,), generator=stream)))


def workload_arguments() -> argparse.ArgumentParser:
    """The command line that both training scripts share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("gpt", *WIDTHS), required=True)
    parser.add_argument("--shards", type=int, required=True, help="of the global batch")
    parser.add_argument("--per-shard", type=int, required=True, help="samples; of a GPT: windows of --context tokens")
    parser.add_argument("--context", type=int, default=CONTEXT, help="tokens of a window")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--turns", default="", help="directory of the turnstile, see benchmarks/turns.py")
    parser.add_argument("--turn-steps", type=int, default=0)
    parser.add_argument("--warm-up", type=int, default=0)
    return parser
