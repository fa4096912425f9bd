"""How far a call of ``job.steps`` goes: as the coordinator is told, and checked."""

from __future__ import annotations

from pliant.data.loader import Loader
from pliant.errors import ConfigError
from pliant.wire.messages import WorkerReady


def call_shape(loader: Loader, *, epochs: int | None, steps: int | None, done: int, call: int) -> WorkerReady:
    """What a worker says of the call at which it stands.

    Args:
        loader: of the call.
        epochs: as the script gave it.
        steps: as the script gave it.
        done: steps of the job before.
        call: its number.
    """
    per_epoch = loader.steps_per_epoch
    total = per_epoch * epochs if per_epoch is not None and epochs is not None else None
    if steps is not None:
        total = steps if total is None else min(steps, total)
    return WorkerReady(
        shards=loader.shards,
        batch_size=loader.batch_size,
        total_steps=None if total is None else total + done,
        epochs=epochs,
        call=call,
    )


def check_length(epochs: int | None, steps: int | None) -> None:
    """Raises ConfigError: lengths that no loop can have."""
    problems = [
        f"{name}={value}: it must be at least 1"
        for name, value in (("epochs", epochs), ("steps", steps))
        if value is not None and value < 1
    ]
    if problems:
        raise ConfigError(problems)
