"""torch.compile: every worker traces for itself and runs the same code, compiled once."""

from __future__ import annotations

import torch
from loops import cross_entropy, loader, mlp, run
from static_crew import scenario
from torch import nn


@scenario
def a_compiled_model():
    model = mlp(nn.Dropout(0.2))
    compiled = torch.compile(model, dynamic=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return run({"model": model, "optimizer": optimizer}, loader(), cross_entropy(compiled))
