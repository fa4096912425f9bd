"""A worker that is slower than the others: its clock is the test's, so that deals are a matter of counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from loops import Points, digest, loader, mlp
from scenarios_data import Noisy
from static_crew import scenario
from torch import nn

import pliant
from pliant.training import pace
from pliant.training.crew import ambient_crew

SHARD_S = 0.125
"""A power of two: its multiples are exact, so that ties are ties."""


class Clock:
    """In place of the module ``time`` in :mod:`pliant.training.pace`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@contextmanager
def played_clock() -> Iterator[Clock]:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "time", clock)
        yield clock


def train(data: pliant.Loader, *, steps: int, slow_at: Callable[[int], float], held_out: Any = None) -> dict[str, Any]:
    """Train with w2 slower by a factor that depends on the step; how many shards each step had here, and the bits."""
    crew = ambient_crew()
    model = mlp(nn.BatchNorm1d(16), nn.Dropout(0.2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    counts, losses = [], []
    with played_clock() as clock:
        job = pliant.join(model=model, optimizer=optimizer)
        for step in job.steps(data, steps=steps):
            if crew.worker == "w2":
                crew.slow = slow_at(step.number)
            count = 0
            for x, y in step:
                clock.now_s += SHARD_S
                step.backward(F.cross_entropy(model(x), y))
                count += 1
            optimizer.step()
            optimizer.zero_grad()
            counts.append(count)
            losses.append(step.loss.hex())
        if held_out is not None:
            losses.append(job.evaluate(held_out, lambda batch: F.cross_entropy(model(batch[0]), batch[1])).hex())
        job.close()
    return {"bits": (digest(model=model, optimizer=optimizer), losses), "counts": counts}


@scenario
def a_worker_is_slow_for_a_while():
    data = loader(Noisy(160))  # 10 steps an epoch, each complete
    return train(data, steps=50, slow_at=lambda step: 3.0 if 10 <= step < 30 else 1.0)


@scenario
def loader_processes_follow_the_deal():
    return train(
        loader(Noisy(160), num_workers=1), steps=20, slow_at=lambda step: 3.0, held_out=loader(Points(50), shards=4)
    )


def long_stream(shard, shards, epoch, start):
    """10 steps an epoch of 2 samples for each shard."""
    data = Points(160)
    for number in range(start, 20):
        x, y = data[(shard * 20 + number + epoch) % 160]
        yield x + torch.randn(6), y


@scenario
def streams_move_to_faster_workers():
    return train(loader(long_stream, num_workers=1), steps=20, slow_at=lambda step: 3.0)


@scenario
def a_very_slow_worker_has_no_shard_at_all():
    return train(
        loader(Noisy(48), batch_size=6, shards=3), steps=20, slow_at=lambda step: 8.0, held_out=loader(Points(50))
    )
