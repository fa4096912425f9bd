"""Writes down what a worker computes, for ``pliant verify``: digests of state, batches and gradients, and every loss.

Each line is in the file once its ``write`` returns, so a worker that is killed loses none. Costs one pass over the
state for each step; used only when a job was started with ``JobSpec.trace``.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from pliant.training.crew import Crew
from pliant.training.watch import GENERATOR, Watch
from pliant.transfer.digest import digestible, tensor_digests
from pliant.transfer.state_digests import state_digests
from pliant.wire.trace import TraceEntered, TraceLine, TraceMean, TraceNames, TraceShard, TraceState

_DIGEST_BYTES = 8


class Recorder:
    """One worker's trace. Main thread only.

    Attributes:
        watch: what of the script is looked at beside what is tracked.
    """

    def __init__(self, directory: str, crew: Crew, tracked: Mapping[str, object]) -> None:
        self._crew, self._tracked = crew, tracked
        self.watch = Watch(tracked)
        path = Path(directory)
        path.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(path / f"trace-{crew.worker}.jsonl", flags, 0o600)
        self._names: list[str] = []
        self._generation = -1
        self._states = 0
        self._batch, self._fetched = "", list[str]()

    def before_step(self, step: int) -> None:
        """Between two steps, or behind the last one."""
        entries = [entry for entry in state_digests(self._tracked) if not entry.loose]
        names = [entry.name for entry in entries]
        if self._crew.generation != self._generation:
            newcomer = self._states == 0 and not self._crew.founding
            self._generation = self._crew.generation
            self._write(TraceEntered(step, self._generation, list(self._crew.workers), newcomer))
        if names != self._names:
            self._names = names
            self._write(TraceNames(names))
        self._states += 1
        digests = [entry.digest.hex() for entry in entries]
        self._write(TraceState(step, digests, torch.get_num_threads(), self.watch.look()))

    def shard_begins(self, batch: Any) -> None:
        """The script is about to get ``batch``, and may change it."""
        self._batch = batch_digest(batch)
        # What else has changed since the last look was changed by the body of the loop.
        self._fetched = [name for name in self.watch.look() if name.startswith("dataset.") or GENERATOR in name]

    def shard_ends(self, *, step: int, pass_number: int, shard: int, loss: float, stream: bool) -> None:
        """The loss of the shard whose batch was told last."""
        self._write(
            TraceShard(
                step,
                pass_number,
                shard,
                batch=self._batch,
                loss=loss.hex(),
                drawn=streams_digest(),
                threads=torch.get_num_threads(),
                stream=stream,
                changed=sorted({*self._fetched, *self.watch.look()}),
            )
        )

    def mean(self, *, step: int, pass_number: int) -> None:
        """The mean gradient has been put into the parameters."""
        models = [item for item in self._tracked.values() if isinstance(item, nn.Module)]
        grads = [param.grad for model in models for param in model.parameters()]
        present = [grad for grad in grads if grad is not None and digestible(grad)]
        total = hashlib.blake2b(bytes(grad is not None for grad in grads), digest_size=_DIGEST_BYTES)
        for digest in tensor_digests(present):
            total.update(digest)
        self._write(TraceMean(step, pass_number, total.hexdigest()))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, line: TraceLine) -> None:
        os.write(self._file, msgspec.json.encode(line) + b"\n")


def batch_digest(batch: Any) -> str:
    """In hex, over everything in a batch whose bits can be looked at."""
    total = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    _feed(total, batch)
    return total.hexdigest()


def streams_digest() -> str:
    """In hex, over the state of the global random streams that are seeded for each shard."""
    total = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    total.update(torch.get_rng_state().numpy().tobytes())
    total.update(repr(random.getstate()).encode())
    kind, keys, *rest = np.random.get_state(legacy=True)
    total.update(f"{kind}{rest}".encode() + np.asarray(keys).tobytes())
    return total.hexdigest()


def _feed(total: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        total.update(tensor_digests([value])[0] if digestible(value) else b"a tensor without plain memory")
    elif isinstance(value, np.ndarray) and value.dtype != object:
        total.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for key in value:
            total.update(repr(key).encode())
            _feed(total, value[key])
    elif isinstance(value, list | tuple):
        total.update(f"{len(value)}".encode())
        for item in value:
            _feed(total, item)
    elif isinstance(value, bool | int | float | complex | str | bytes | np.generic) or value is None:
        total.update(repr(value).encode())
    elif hasattr(value, "__dict__"):
        _feed(total, vars(value))
