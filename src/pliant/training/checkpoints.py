"""When a worker writes checkpoints. The main worker's main thread copies the state; a thread of its own writes it."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from pliant.errors import StateError
from pliant.training.crew import Crew
from pliant.training.session import Session
from pliant.training.writing import Writer, reason_of
from pliant.transfer.checkpoint_save import Snapshot, Staging, take_snapshot, write_checkpoint
from pliant.wire.messages import CheckpointFailed, CheckpointSkipped, CheckpointWritten


class Checkpoints:
    """Main thread only. A checkpoint that cannot be written is told to the coordinator; training goes on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._staging = Staging()
        self._writer = Writer()
        self._writing = 0
        self._last = -1
        """Step of the newest one that was tried, or that the job began from."""
        self._skipping = False

    @property
    def _crew(self) -> Crew:
        return self._session.crew

    def at_boundary(self) -> None:
        """Begin one if it is due and this is the main worker. Blocks while the state is copied, not longer."""
        rules, step = self._crew.rules, self._session.position.step
        if not rules.checkpoints or rules.checkpoint_every < 1 or not self._session.is_main:
            return
        if step == 0 or step % rules.checkpoint_every or step in (self._last, self._session.restored_step):
            return
        self._last = step
        if self._writer.busy:
            self._skip(step)
            return
        self._skipping = False
        began_s = time.monotonic()
        snapshot = self._snapshot()
        if snapshot is not None:
            self._writing = step
            self._writer.begin(partial(self._write, snapshot, began_s), name=f"pliant-checkpoint-{step}")

    def at_stop(self) -> None:
        """The job stops here: write one before the script is left, if this is the main worker. Blocking."""
        if not self._crew.rules.checkpoints or not self._session.is_main or self._session.position.step == 0:
            return
        self.close()
        began_s = time.monotonic()
        snapshot = self._snapshot()
        if snapshot is not None:
            self._write(snapshot, began_s)

    def close(self) -> None:
        """Wait until the one that is being written, if any, is complete. Blocking."""
        self._writer.finish()

    def _skip(self, step: int) -> None:
        if not self._skipping:  # said once, until one is written again
            self._crew.tell(CheckpointSkipped(step=step, writing=self._writing))
        self._skipping = True

    def _snapshot(self) -> Snapshot | None:
        session = self._session
        try:
            return take_snapshot(
                session.tracked, session.position.as_state(), job=self._crew.job_name, staging=self._staging
            )
        except (StateError, OSError, MemoryError, RuntimeError) as error:
            self._failed(session.position.step, error)
            return None

    def _write(self, snapshot: Snapshot, began_s: float) -> None:
        rules = self._crew.rules
        try:
            path, size_bytes = write_checkpoint(Path(rules.checkpoints), snapshot, keep=rules.keep)
        except Exception as error:  # whatever it is, training is worth more
            self._failed(snapshot.step, error)
            return
        self._crew.tell(
            CheckpointWritten(
                step=snapshot.step,
                path=str(path),
                size_bytes=size_bytes,
                seconds=time.monotonic() - began_s,
            )
        )

    def _failed(self, step: int, error: Exception) -> None:
        print(f"pliant: the checkpoint before step {step} could not be written: {error}", file=sys.stderr, flush=True)
        self._crew.tell(CheckpointFailed(step=step, error=reason_of(error)))
