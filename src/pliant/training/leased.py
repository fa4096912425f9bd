"""Training where workers do not wait for each other: ``job.steps`` and ``job.evaluate`` over leases.

Theory of operation. Work is leased by the ledger, shard by shard (:mod:`pliant.parallel.leases.ledger`). For each lease
the body of the loop runs once; its ``optimizer.step()`` is a push, answered with the new parameters. Nothing is said
among the workers. All that a newcomer needs beside the parameters is kept by the servers; the main worker gives
it, again and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pliant.data.base import Source
from pliant.data.loader import Loader
from pliant.data.streams import seed_streams
from pliant.parallel.leases.ledger import CallShape, Finished, Given
from pliant.training.checkpoints import Checkpoints
from pliant.training.evaluate import Evaluation
from pliant.training.kept_state import KeptState
from pliant.training.lease_step import Lease, LeaseStep
from pliant.training.leased_served import LeasedServed
from pliant.training.leases import Extent, Leases, steps_in
from pliant.training.loose_groups import LooseGroups
from pliant.training.passes import StepRules
from pliant.training.publications import Publications
from pliant.training.schedules import Progress, Schedules
from pliant.training.session import JobStopped, Session
from pliant.training.step import Step
from pliant.wire.messages import UNBOUNDED, WorkerReady


class LeasedTraining:
    """Of one worker. Main thread."""

    def __init__(
        self,
        session: Session,
        served: LeasedServed,
        groups: LooseGroups,
        *,
        checkpoints: Checkpoints,
        publications: Publications,
    ) -> None:
        self._session, self._served, self._groups = session, served, groups
        self._checkpoints, self._publications = checkpoints, publications
        self._leases = Leases(session, served, groups)
        self._kept = KeptState(session, served, groups)
        self._schedules: Schedules | None = None
        self.live: LeaseStep | None = None
        self._left: tuple[LeaseStep, Step] | None = None
        self._read_step = 0
        """The parameters that are here have in them all steps before this one."""

    def admit(self, shape: WorkerReady) -> None:
        """See :meth:`pliant.training.session.Session.admit`."""
        self._kept.admit(shape)

    def flush(self) -> None:
        """Tell the coordinator of the steps that it does not know of yet."""
        self._leases.flush()

    # ------------------------------------------------------------ steps

    def steps(
        self, loader: Loader, source: Source, rules: StepRules, *, epochs: int | None, steps: int | None
    ) -> Iterator[Step]:
        """The rest of a call of ``job.steps``; ``position.epoch`` is the one that it began with."""
        session, position = self._session, self._session.position
        self._begin(self._extent(loader, epochs=epochs, steps=steps))
        if self._schedules is None:
            self._schedules = Schedules(session.tracked, self._kept.schedules)
        while (lease := self._next()) is not None:
            seed_streams(loader.seed, "head", position.call, lease.step)
            self._leases.show(lease.step, [lease.shard])
            source.assign([lease.shard], epoch=lease.epoch, step=lease.step_of_epoch)
            number = self._leases.lease_number(lease.index)
            self._served.open(number, floor=self._leases.lease_number(self._leases.floor), step=lease.step)
            live = self.live = LeaseStep(lease, session, self._served, source=source, rules=rules)
            step = Step(live, number=lease.step, epoch=lease.epoch)
            self._schedules.body_begins(lease.step)
            try:
                yield step
            except GeneratorExit:
                self._left = live, step
                raise
            finally:
                self.live = None
            self._schedules.body_ends(lease.step)
            self._kept.schedules = self._schedules.progress
            self._leases.finish(live.finished(step))

    @property
    def left(self) -> bool:
        """The script has left the loop, and ``settle`` was not called yet."""
        return self._left is not None

    def settle(self) -> None:
        """The script goes on behind a loop that it has left: end it for all.

        Blocking, until the others have done what they have. Not done as the loop is left: that may be because of an
        error in its body, which is this worker's alone.
        """
        if self._left is None:
            return
        (live, step), self._left = self._left, None
        if step.passes and not live.running and self._served.parts:
            self._leases.finish(live.finished(step))
        self._leases.leave()
        self._place(self._leases.next().step)
        self._meet()

    def _look(self) -> None:
        """Raises JobStopped: this worker's part is over."""
        try:
            self._groups.look()
        except JobStopped:
            self._session.leaving = True
            raise

    def _extent(self, loader: Loader, *, epochs: int | None, steps: int | None) -> Extent:
        position, rules = self._session.position, self._session.crew.rules
        total = steps_in(per_epoch=loader.steps_per_epoch, epochs=epochs, steps=steps)
        per_epoch = loader.steps_per_epoch or 1
        shape = CallShape(
            position.call,
            "steps",
            position.step - position.step_of_call,
            total,
            loader.shards,
            begun=position.step_of_call,
            every=rules.checkpoint_every if rules.checkpoints else 0,
            staleness=UNBOUNDED if rules.staleness is None else rules.staleness,
        )
        whole = per_epoch * loader.batch_size if loader.drop_last or loader.size is None else loader.size
        extent = Extent(
            shape,
            first_epoch=position.epoch - position.step_of_call // per_epoch,
            per_epoch=per_epoch,
            batch_size=loader.batch_size,
            per_epoch_samples=whole,
        )
        before = position.samples - extent.samples_until(position.step)
        return replace(extent, samples=before)

    def _begin(self, extent: Extent) -> None:
        self._leases.begin(extent)
        self._leases.look()
        self._kept.keep(always=True)
        self._served.read()
        self._read_step = self._leases.floor_step

    def _next(self) -> Lease | None:
        """What this worker computes next; None: the call is over. Raises JobStopped."""
        leases, session = self._leases, self._session
        while True:
            self._look()
            known = leases.floor_step if self._served.took_parameters else 0
            given = leases.next()
            self._place(leases.floor_step)
            match given.what:
                case "work":
                    self._catch_up(given, known)
                    self._publications.at_boundary()
                    self._kept.keep()
                    return self._lease(given.index)
                case "quiet":
                    self._served.read()
                    self._checkpoints.at_boundary()
                    self._publications.at_boundary()
                    leases.released(leases.floor_step)
                case "stop":
                    self._meet()
                    session.leaving = session.stopping = True
                    for callback in session.on_stop:
                        callback()
                    raise JobStopped("the job was stopped")
                case _:
                    self._meet()
                    return None

    def _meet(self) -> None:
        """The end of a call: all workers have the same parameters, and the main worker's buffers."""
        self._served.read()
        kept = self._kept.of_the_main_worker(self._session.position)
        if kept is not None:
            self._session.pending(kept)
            self._session.load_pending()
            self._kept.schedules, self._schedules = Progress(**kept["schedules"]), None
            self._served.read()

    def _catch_up(self, given: Given, known: int) -> None:
        """Who has waited has parameters that may be older than the staleness allows.

        What this worker's last push was answered with has in it all that was known to be done before.
        """
        staleness, step = self._leases.extent.shape.staleness, self._lease(given.index).step
        self._read_step = max(self._read_step, known)
        if staleness != UNBOUNDED and self._read_step < step - staleness:
            self._served.read()
            self._read_step = given.step

    def _lease(self, index: int) -> Lease:
        extent = self._leases.extent
        step, shard = divmod(index, extent.shape.shards)
        step += extent.shape.first_step
        epoch, step_of_epoch = extent.epoch_of(step)
        return Lease(index, step=step, shard=shard, epoch=epoch, step_of_epoch=step_of_epoch)

    def _place(self, step: int) -> None:
        """All before this step is done: that is where the job is."""
        position, extent = self._session.position, self._leases.extent
        if self._session.is_main:
            for reached in range(position.step, step + 1):
                if reached in self._session.crew.milestones:
                    self._leases.flush()
                    self._session.crew.milestone(reached)
        position.step = step
        position.step_of_call = step - extent.shape.first_step
        position.epoch, position.step_of_epoch = extent.epoch_of(step)
        position.samples = extent.samples_until(step)
        position.passes = max(position.passes, step)

    # ------------------------------------------------------------ evaluation

    def evaluate(self, evaluation: Evaluation, *, shards: int) -> Any:
        """A call of ``job.evaluate``. Each lease is one shard of the whole data set."""
        position = self._session.position
        shape = CallShape(position.call, "evaluate", position.step, 1, shards)
        self._leases.begin(Extent(shape))
        self._leases.look()
        self._kept.keep(always=True)
        self._served.read()
        while True:
            self._look()
            given = self._leases.next()
            match given.what:
                case "work":
                    self._leases.show(position.step, [given.index], "evaluating")
                    self._leases.finish(Finished(given.index, result=evaluation.share_of(given.index)))
                case "over":
                    return evaluation.mean_of(given.results)
                case _:
                    return self._ended_meanwhile(position.call)

    def _ended_meanwhile(self, call: int) -> Any:
        """The others have long gone on: the main worker knows the result."""
        kept: Mapping[str, Any] = self._kept.fetch(call + 1)
        return kept["position"]["ended"][call][1]
