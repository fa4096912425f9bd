"""A worker's talk with the ledger of leases: what is next, and what has become of what it was given."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pliant.errors import UsageError
from pliant.parallel.leases.ledger import CALL, Asked, CallShape, Finished, Given
from pliant.parallel.servers.lease_work import AskWork
from pliant.training.leased_served import LeasedServed
from pliant.training.loose_groups import LooseGroups
from pliant.training.session import Session
from pliant.wire.messages import StepsCommitted, WorkerProgress

TELL_S = 0.2
STALENESS_S = 2.0


@dataclass(frozen=True)
class Extent:
    """How far a call goes, in numbers that steps, epochs and samples are computed from.

    Attributes:
        shape: as the ledger has it.
        first_epoch: of the loader.
        per_epoch: steps.
        batch_size: samples of a full step.
        per_epoch_samples: of a whole epoch.
        samples: in the steps before the call.
    """

    shape: CallShape
    first_epoch: int = 0
    per_epoch: int = 1
    batch_size: int = 0
    per_epoch_samples: int = 0
    samples: int = 0

    def samples_until(self, step: int) -> int:
        """In all steps of the job before this one."""
        epochs, rest = divmod(step - self.shape.first_step, self.per_epoch)
        return self.samples + epochs * self.per_epoch_samples + min(rest * self.batch_size, self.per_epoch_samples)

    def epoch_of(self, step: int) -> tuple[int, int]:
        """The epoch that a step is in, and its number within it."""
        epoch, rest = divmod(step - self.shape.first_step, self.per_epoch)
        return self.first_epoch + epoch, rest


class Leases:
    """Of one worker. Main thread.

    Attributes:
        floor_step: all steps before this one are done.
        floor: all leases of the call below are done.
    """

    def __init__(self, session: Session, served: LeasedServed, groups: LooseGroups) -> None:
        self._session, self._served, self._groups = session, served, groups
        self.floor = self.floor_step = 0
        self._released = 0
        self._told = 0
        """The first step that the coordinator was not told of, as far as is known here."""
        self._finished: Finished | None = None
        self._leaves = False
        self._times: list[float] = []
        self._losses: list[float | None] = []
        self._sent_s = self._shown_s = self._staleness_s = 0.0

    def begin(self, extent: Extent) -> None:
        """A call."""
        self.extent = extent
        self.floor = extent.shape.begun * extent.shape.shards
        self.floor_step = self._told = extent.shape.first_step + extent.shape.begun
        self._finished, self._leaves = None, False

    def leave(self) -> None:
        """The script has left the loop: the call ends, for all."""
        self._leaves = True

    def finish(self, finished: Finished) -> None:
        """The lease that was given last is done; said with the next question."""
        self._finished = finished

    def released(self, step: int) -> None:
        """As the main worker: what is wanted of the steps before this one is done."""
        self._released = step

    def next(self) -> Given:
        """What to do. Blocking. Raises JobStopped: this worker's part is over."""
        self.look()
        given = self._served.client.ask(AskWork(self._asked)).given
        self._finished = None
        self.look()
        if given.what != "passed":
            self.floor, self.floor_step = given.floor, given.step
        self._hear(given)
        return given

    def lease_number(self, index: int) -> int:
        """Counted over the whole job."""
        return self.extent.shape.call * CALL + index

    def look(self) -> None:
        """Where is this worker now?"""
        place = self._groups.place
        if place is not None:
            self._session.stand(place.rank, len(place.members))
        self._groups.step = self.floor_step

    def show(self, step: int, shards: list[int], state: str = "training") -> None:
        """Tell the coordinator what this worker does, now and then."""
        now = time.monotonic()
        if now - self._shown_s >= TELL_S:
            self._shown_s = now
            self._session.crew.tell(WorkerProgress(step=step, state=state, shards=shards))  # type: ignore[arg-type]

    def flush(self, staleness: dict[int, int] | None = None) -> None:
        """Tell the coordinator of the steps that are done."""
        if self._times or staleness:
            epoch, _ = self.extent.epoch_of(max(self.extent.shape.first_step, self._told - 1))
            self._session.crew.tell(
                StepsCommitted(
                    first_step=self._told - len(self._times),
                    times_s=self._times,
                    losses=self._losses,
                    epoch=epoch,
                    samples=self.extent.samples_until(self._told),
                    staleness=staleness or {},
                )
            )
        self._times, self._losses, self._sent_s = [], [], time.monotonic()

    def _asked(self) -> Asked:
        """Also called by the thread that talks to the servers."""
        place = self._groups.place
        return Asked(
            self.extent.shape,
            generation=place.generation if place else 0,
            members=list(place.members) if place else [],
            finished=self._finished,
            stop=self._session.crew.stopping,
            released=self._released,
            known=self._told,
            leave=self._leaves,
        )

    def _hear(self, given: Given) -> None:
        """As the main worker, tell the coordinator of steps; whoever becomes it later goes on from what is done now."""
        if not self._session.is_main:
            self._told = max(self._told, self.floor_step)
            self._times, self._losses = [], []
            return
        now = time.monotonic()
        for news in given.news:
            if news.step < self._told:
                continue
            if news.step > self._told:  # so many steps were done meanwhile that the ledger has forgotten some
                self.flush()
            self._told = news.step + 1
            self._times.append(now)
            self._losses.append(news.loss)
            self._session.position.loss = news.loss
        if (self._times and now - self._sent_s >= TELL_S) or given.what != "work":
            self.flush(self._staleness_due(given, now))

    def _staleness_due(self, given: Given, now: float) -> dict[int, int] | None:
        """It is all of it each time, and is written down by the coordinator: seldom, and at the end of a call."""
        if given.what == "work" and now - self._staleness_s < STALENESS_S:
            return None
        self._staleness_s = now
        return given.staleness


def steps_in(*, per_epoch: int | None, epochs: int | None, steps: int | None) -> int:
    """Of a call. Raises UsageError: the dataset has no length."""
    if per_epoch is None:
        raise UsageError(
            "with --staleness a dataset needs a length, and this loader reads streams: nobody could tell which shard "
            "of which step is the last. Use a map-style dataset, or train synchronously (without --staleness)."
        )
    found = None if epochs is None else per_epoch * epochs
    if steps is not None:
        found = steps if found is None else min(steps, found)
    assert found is not None
    return found
