"""What the scenarios share: small data, small models, one plain loop, and a digest of everything tracked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import pliant
from pliant.training.job import Job
from pliant.transfer.capture import capture
from pliant.transfer.spec import encode


class Points:
    """``size`` samples of (x, class), a function of their number."""

    def __init__(self, size: int = 64, *, features: int = 6) -> None:
        generator = torch.Generator().manual_seed(size * 1000 + features)
        self.x = torch.randn(size, features, generator=generator)
        self.y = torch.randint(0, 3, (size,), generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index], self.y[index]


def mlp(*middle: nn.Module, features: int = 6) -> nn.Sequential:
    """A seeded small network with ``middle`` between its layers."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(features, 16), nn.Tanh(), *middle, nn.Linear(16, 3))


def loader(dataset: Any = None, **options: Any) -> pliant.Loader:
    """16 samples in 8 shards a step, unless told otherwise."""
    return pliant.Loader(
        Points() if dataset is None else dataset, **({"batch_size": 16, "shards": 8, "seed": 3} | options)
    )


def cross_entropy(model: nn.Module) -> Callable[[Any], torch.Tensor]:
    return lambda batch: F.cross_entropy(model(batch[0]), batch[1])


def digest(**tracked: Any) -> str:
    """SHA-256 over the whole state of everything tracked."""
    encoded = encode(capture(tracked))
    found = hashlib.sha256(encoded.meta)
    for tensor in encoded.tensors:
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def run(
    tracked: dict[str, Any],
    data: pliant.Loader,
    loss_of: Callable[[Any], torch.Tensor],
    *,
    weight_of: Callable[[Any], Any] | None = None,
    update: Callable[[Job, Any], None] | None = None,
    epochs: int = 1,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The plain loop. Returns the digest, the losses, and how many samples were counted."""
    before = digest(**tracked)
    job = pliant.join(**tracked, **(options or {}))
    losses = []
    for step in job.steps(data, epochs=epochs):
        for batch in step:
            step.backward(loss_of(batch), weight=None if weight_of is None else weight_of(batch))
        if update is not None:
            update(job, step)
        else:
            tracked["optimizer"].step()
            tracked["optimizer"].zero_grad()
        losses.append(step.loss.hex())
    job.close()
    if job.session.size > 1:  # see StaticCrew: compared before every step but the first
        assert job.session.position.agreed == (job.step - 1 or None)
    after = digest(**tracked)
    assert after != before, "nothing was trained"
    return {"digest": after, "losses": losses, "samples": job.session.position.samples, "steps": job.step}
