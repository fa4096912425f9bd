"""Weights for whoever follows the job: the main worker copies them at a boundary, and a thread writes them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pliant.training.crew import Crew
from pliant.training.session import Session
from pliant.training.writing import Writer, reason_of
from pliant.transfer.capture import modules_in
from pliant.transfer.checkpoint_save import Snapshot, Staging, take_snapshot, write_snapshot
from pliant.wire.messages import WeightsOrder, WeightsPublished


class Publications:
    """Main thread only. What cannot be written is told to the coordinator; training goes on.

    The weights are a checkpoint that has only the tracked modules in it, written in one piece into a directory in
    memory (tmpfs) that belongs to the service that follows.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._modules = modules_in(session.tracked)
        self._staging = Staging()
        self._writer = Writer()
        self._published: dict[str, int] = {}
        """By directory, of everyone who has followed: the step of what was written last; -1: nothing yet."""
        self._before: int | None = None
        """The step at the last boundary."""

    @property
    def _crew(self) -> Crew:
        return self._session.crew

    def at_boundary(self) -> None:
        """Begin to write what is ordered for this step, if this is the main worker. Blocks while it is copied."""
        step = self._session.position.step
        before, self._before = step if self._before is None else self._before, step
        orders = self._crew.orders
        if not orders or not self._session.is_main:
            return
        self._know(orders)
        due = [order for order in orders if self._is_due(order, step, before)]
        if not due or self._writer.busy:  # who has to wait gets a later step: weights age while they are waited for
            return
        wanted = {order.directory: order.every for order in due}
        snapshot = self._snapshot(wanted)
        if snapshot is not None:
            work = partial(self._write, wanted, snapshot, time.monotonic())
            self._writer.begin(work, name=f"pliant-weights-{step}")

    def at_end(self) -> None:
        """The script ends here, or the job stops: everyone who has followed gets the last weights. Blocking."""
        self.close()
        if not self._session.is_main:
            return
        self._know(self._crew.orders)
        step = self._session.position.step
        wanted = {directory: 0 for directory, last in self._published.items() if last < step}
        snapshot = self._snapshot(wanted) if wanted else None
        if snapshot is not None:
            self._write(wanted, snapshot, time.monotonic())

    def close(self) -> None:
        """Wait until what is being written, if anything, is complete. Blocking."""
        self._writer.finish()

    def _know(self, orders: Sequence[WeightsOrder]) -> None:
        for order in orders:
            self._published.setdefault(order.directory, -1)

    def _is_due(self, order: WeightsOrder, step: int, before: int) -> bool:
        """At a multiple; or after one that was passed since the boundary at ``before``, as leased work may."""
        multiple = step % order.every == 0 or step // order.every > before // order.every
        return multiple and step >= order.after and step > self._published[order.directory]

    def _snapshot(self, wanted: dict[str, int]) -> Snapshot | None:
        position = self._session.position
        try:
            return take_snapshot(self._modules, position.as_state(), job=self._crew.job_name, staging=self._staging)
        except Exception as error:  # a module's own get_extra_state, memory: training is worth more
            for directory, every in wanted.items():
                self._failed(directory, every, position.step, error)
            return None

    def _write(self, wanted: dict[str, int], snapshot: Snapshot, began_s: float) -> None:
        for directory, every in wanted.items():
            self._published[directory] = snapshot.step
            try:
                if not Path(directory).is_dir():
                    raise FileNotFoundError(f"there is no directory {directory}: whoever followed has gone")
                path, size_bytes = write_snapshot(Path(directory), snapshot)
            except Exception as error:
                self._failed(directory, every, snapshot.step, error)
                continue
            seconds = time.monotonic() - began_s
            self._crew.tell(WeightsPublished(directory, snapshot.step, str(path), size_bytes, seconds, every=every))

    def _failed(self, directory: str, every: int, step: int, error: Exception) -> None:
        self._crew.tell(WeightsPublished(directory, step, error=reason_of(error), every=every))
