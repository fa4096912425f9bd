"""Scalars for TensorBoard, written when ``tensorboard`` is installed (``pip install 'pliant[tensorboard]'``).

One directory per job, ``jobs/NAME/tensorboard`` in the home directory: ``train/loss``, ``train/workers`` and
``train/staleness`` over the committed steps. Everything happens in a thread of its own, the half second that importing
takes included.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import queue
import threading
from pathlib import Path
from typing import Any, NamedTuple

from pliant.control.progress import Progress

_log = logging.getLogger(__name__)


class Scalar(NamedTuple):
    """One value at one step."""

    tag: str
    value: float
    step: int
    time_s: float
    """Unix time."""


def scalars_for(directory: Path | None) -> Scalars | None:
    """A writer into ``directory``; None without a directory or without TensorBoard."""
    if directory is None or importlib.util.find_spec("tensorboard") is None:
        return None
    return Scalars(directory)


class Scalars:
    """Writes in the background. What cannot be written is logged once and dropped: a job never fails by it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._queue: queue.SimpleQueue[Scalar | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="pliant-scalars", daemon=True)
        self._thread.start()

    def add(self, scalar: Scalar) -> None:
        """Queue one value."""
        self._queue.put(scalar)

    def add_commits(self, progress: Progress, *, fresh: int, workers: int, now_s: float) -> None:
        """Queue what the last ``fresh`` commits gave, with ``workers`` training."""
        for step in range(progress.step - fresh, progress.step):
            loss = progress.losses[step - progress.first_step]
            if loss is not None:
                self.add(Scalar("train/loss", loss, step, now_s))
        self.add(Scalar("train/workers", workers, progress.step - 1, now_s))
        staleness = progress.mean_staleness()
        if staleness is not None:
            self.add(Scalar("train/staleness", staleness, progress.step - 1, now_s))

    def close(self, timeout_s: float | None = None) -> None:
        """Write what is queued and end; waits ``timeout_s`` at most (None: does not wait)."""
        self._queue.put(None)
        if timeout_s is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._write()
        except Exception:
            _log.exception("no TensorBoard scalars in %s", self._directory)

    def _write(self) -> None:
        # By name, because the package is optional; its parts that import TensorFlow or torch are not touched.
        writers: Any = importlib.import_module("tensorboard.summary.writer.event_file_writer")
        events: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
        summaries: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        writer = writers.EventFileWriter(str(self._directory), flush_secs=5)
        try:
            while (scalar := self._queue.get()) is not None:
                value = summaries.Summary.Value(tag=scalar.tag, simple_value=scalar.value)
                summary = summaries.Summary(value=[value])
                writer.add_event(events.Event(step=scalar.step, wall_time=scalar.time_s, summary=summary))
        finally:
            writer.close()
