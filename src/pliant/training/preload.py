"""Imported once by the template process that workers are forked from: everything slow that every worker needs.

Torch imports much of itself on first use (the first optimizer costs seconds), so a small step is run here. With one
thread, and leaving none behind: a fork must find no thread pool.
"""

from __future__ import annotations

import torch
import torch.utils.data

from pliant.no_gc import freeze_and_enable
from pliant.training.worker import run

__all__ = ["run"]


def warm_up() -> None:
    """One training step of a tiny model."""
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.Dropout(0.1))
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    torch.nn.functional.cross_entropy(model(torch.ones(2, 2)), torch.zeros(2, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    torch.utils.data.default_collate([(torch.ones(1), 1)])


warm_up()
freeze_and_enable()
