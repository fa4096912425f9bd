"""The first lines that run in a worker process, between the fork and the worker's own entry."""

from __future__ import annotations

import faulthandler
import importlib
import io
import os
import sys
from collections.abc import Mapping

from typing_extensions import Buffer

from pliant.config import WorkerSpec

DEFAULT_ENTRY = "pliant.training.worker:run"
"""``module:function`` called with the :class:`WorkerSpec`. A name, because imports point down only."""


def run_child(spec: WorkerSpec, entry: str, environment: Mapping[str, str]) -> None:
    """Make this fresh fork a worker process: own session, own log, own environment; then call ``entry``.

    The session makes the worker the leader of a process group, so that whatever it started (data loader
    processes) can be ended once it is gone itself, and keeps the terminal's Ctrl-C away from it.
    """
    os.setsid()
    os.environ.update(environment)
    if spec.log:
        _redirect(spec.log)
    faulthandler.enable()
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(spec)


class _ForgivingFile(io.FileIO):
    """Drops what the disk does not take: a full disk must not make the script's ``print`` raise, and end the job."""

    def write(self, data: Buffer) -> int:
        """As written, even if it was not."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _redirect(path: str) -> None:
    """Append file descriptors 1 and 2 to ``path``, a line at a time, also for non-Python writers."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        raw = _ForgivingFile(descriptor, "wb", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        setattr(sys, name, stream)
