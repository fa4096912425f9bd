"""What the training scripts write down; the harness counts from nothing else. One file for each process."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn


class Book:
    """Lines of JSON with the machine's monotonic clock; a line is there as a whole or not at all."""

    def __init__(self, directory: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(Path(directory, f"book-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"), flags, 0o600)
        self.muted = False
        """True: what is computed is thrown away by design, so it is not written."""
        self._write("begin", 0, os.getpid())

    def computes(self, step: int, ids: Iterable[int]) -> None:
        """Right before the forward pass of ``step`` over these samples."""
        self._write("computes", step, [int(sample) for sample in ids])

    def commit(self, step: int, ids: Iterable[int]) -> None:
        """Right after the optimizer's update of ``step``, with the samples that this process put into it."""
        self._write("commit", step, [int(sample) for sample in ids])

    def end(self, step: int, model: nn.Module) -> None:
        """The last line: steps done, and SHA-256 over parameters and buffers by name."""
        digest = hashlib.sha256()
        state = {name.removeprefix("module."): value for name, value in model.state_dict().items()}
        for name in sorted(state):
            digest.update(name.encode())
            digest.update(state[name].detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        self._write("end", step, digest.hexdigest())

    def _write(self, kind: str, step: int, value: object) -> None:
        if self.muted:
            return
        os.write(self._file, (json.dumps([kind, time.monotonic(), step, value]) + "\n").encode())
