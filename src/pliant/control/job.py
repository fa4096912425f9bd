"""One job's runtime: what happens to it, and membership's decisions carried out. No waiting, no sockets, no clock.

A deterministic function of its inputs and of the moments at which they came: :mod:`~pliant.control.intake` journals
each and hands it over, :mod:`~pliant.control.worker_desk` and :mod:`~pliant.control.agent_desk` know what they mean.
Only the event loop's thread may call; nothing here blocks. Whatever touches the world beyond a peer's link has to go
through :attr:`Job.around`, because a replay must not do it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from pliant.config import Home
from pliant.control.ending import End, Ending, too_many_workers, weights_problem
from pliant.control.inputs import CheckpointChosen, Moment
from pliant.control.job_records import JobRecords
from pliant.control.links import WorkerRecord
from pliant.control.memory_plan import Fewer, GiveUp
from pliant.control.publications import Answer
from pliant.control.report_plan import job_status
from pliant.control.scalars import scalars_for
from pliant.control.schedule import strike
from pliant.control.schedule_plan import describe
from pliant.control.servers import Servers
from pliant.control.surroundings import Surroundings
from pliant.errors import ConfigError, CoordinatorError
from pliant.membership import events as ev
from pliant.wire.agent_messages import StartWorker, StopAgent
from pliant.wire.api import JobSpec, PlanEvent
from pliant.wire.messages import (
    FormGeneration,
    Interrupt,
    Member,
    MilestonePassed,
    PublishWeights,
    Retire,
    StopJob,
    WeightsOrder,
    WeightsPublished,
)

_GRACE_S = 5.0


class Job(JobRecords):
    """A training job from its creation to its end, and its final words afterwards."""

    def __init__(self, job: str, spec: JobSpec, around: Surroundings, *, moment: Moment) -> None:
        """As :class:`~pliant.control.job_records.JobRecords`."""
        super().__init__(job, spec, around, moment=moment)
        self.servers = Servers(self)
        self.event("job_started", f"job {spec.name} created for {spec.script}")
        self._carry_out(self.membership.begin())
        self.servers.begin()

    def go_live(self, around: Surroundings) -> None:
        """From here on what happens is real: events are published, scalars written."""
        self.around = around
        self.look_for_state()
        directory = None if around.home is None else Home(around.home).job(self.spec.name) / "tensorboard"
        self._scalars = scalars_for(directory)

    # ------------------------------------------------------------ what users ask

    def scale(self, workers: int) -> None:
        """Change the wanted number of workers.

        Raises:
            CoordinatorError: 422 out of bounds, 409 the job is over or stopping. Nothing changed.
        """
        name, low, high = self.spec.name, self.spec.min_workers, self.spec.max_workers
        self._refuse_scaling_at_the_end()
        if not low <= workers <= high:
            fix = f"choose a number from {low} to {high}, or start the job with other --workers MIN:MAX"
            raise CoordinatorError(f"cannot scale job {name} to {workers} workers: {fix}", status=422)
        if self.recipe is not None and workers > self.recipe.shards:
            raise CoordinatorError(too_many_workers(workers, self.recipe.shards), status=422)
        self._scale(workers, by="on request")

    def scale_servers(self, servers: int) -> None:
        """Change the wanted number of parameter servers.

        Raises:
            CoordinatorError: 422 out of bounds, or the job has none; 409 it is over or stopping. Nothing changed.
        """
        self._refuse_scaling_at_the_end()
        self.servers.scale(servers, by="on request")

    def _refuse_scaling_at_the_end(self) -> None:
        if self.over or self._stopping:
            raise CoordinatorError(f"job {self.spec.name} is {self.state}: it cannot be scaled any more", status=409)

    def stop(self, *, now: bool) -> None:
        """Stop at a boundary, or at once. Does nothing if the job is over."""
        if self.over:
            return
        if not self._stopping or now:
            self.event("stop_requested", "asked to stop at once" if now else "asked to stop at the next step boundary")
        self._stopping = True
        if now:
            self.end("stopped", "stopped at once by request", grace_s=0.0)
        else:
            self.handle(ev.StopAsked())

    def ask_weights(self, order: WeightsOrder, answer: Answer) -> None:
        """Have a worker write its weights; ``answer`` is called when it has, or with None if the job is over before.

        Raises:
            CoordinatorError: 409: it is over already.
        """
        if self.publications.ask(order, answer):
            if self.over:
                self.publications.drop(order)
                raise CoordinatorError(f"job {self.spec.name} is {self.state}: no more weights will come", status=409)
            self.tell_orders()

    def drop_weights(self, order: WeightsOrder) -> None:
        """Whoever asked waits no more."""
        if self.publications.drop(order) and not self.over:
            self.tell_orders()

    def weights_published(self, message: WeightsPublished) -> None:
        """A worker has written some, or could not."""
        if self.publications.published(message):
            self.tell_orders()

    def tell_orders(self) -> None:
        """Any member may become the main one at any moment: all know the orders."""
        for record in self.workers.values():
            if record.entered and not record.gone:
                record.send(PublishWeights(self.publications.orders))

    # ------------------------------------------------------------ what happens to the job

    def taken_up(self, away_s: float) -> None:
        """This coordinator is another one than before."""
        for peer in (self.agent, *self.processes()):
            if peer.away_since_s is not None:  # the others have to find this coordinator first
                peer.away_since_s = self.now_s()
        if not self.over:
            self.event("coordinator_returned", f"the coordinator was away for {away_s:.1f} s and has taken the job up")

    def checkpoint_chosen(self, choice: CheckpointChosen) -> None:
        """What was found to begin from; see :class:`~pliant.control.checkpoints.Checkpoints`."""
        if not self.over and self.checkpoints.choosing:
            self.handle(self.checkpoints.chosen(choice, calls=self.calls))
            if not self.over:
                self.servers.go_on()

    def lose_state(self, why: str) -> None:
        """What the job has done is lost, up to its last checkpoint: all begin again from there."""
        if self._stopping:
            self.event("state_lost", why)
        self.handle(ev.StateLost(why))
        if not self.over and not self.membership.finding:  # nobody had begun with it
            self.servers.go_on()

    def look_for_state(self) -> None:
        """Have the checkpoint chosen that the job goes on from, if it needs one and nobody can write a newer one.

        Workers that were expelled for their silence may train on with their like, cut off from here, until they hear of
        it or their agent has killed them: two halves must never both go on, so the ends of all are awaited.
        """
        at_large = any(record.expelled and not record.exited for record in self.processes())
        if self.checkpoints.choosing and not self.over and not at_large:
            self.around.choose_checkpoint(self.id, self.spec.checkpoints)

    def follow_plan(self) -> None:
        """Do what the plan says next, if it is time and what came before has taken effect."""
        while not self.over and self.schedule.waits and self._at_rest():
            for event in self.schedule.due():
                self._happen(event, step=max(self.schedule.reached, self.progress.step))
        self._answer_milestone()

    def _answer_milestone(self) -> None:
        """Let the main worker go on; with a patient plan only once nobody is on the way, and a step at a time until
        all has taken effect.
        """
        if self.at_milestone is None or self.over:
            return
        worker, step = self.at_milestone
        main, patient = self.workers[worker], self.spec.patient_plan
        on_the_way = any(record.unsettled for record in self.workers.values()) or not self.servers.at_rest
        if patient and not main.gone and on_the_way:
            return
        self.at_milestone = None
        if not main.gone:
            main.send(MilestonePassed(step, again=patient and (self.schedule.waits or not self._at_rest())))

    def _at_rest(self) -> bool:
        """As many workers train as are wanted, and nobody is on the way in or out."""
        members = self.changes.training()
        live = [record for record in self.workers.values() if not record.gone]
        going = any(record.leaving or record.doomed or record.stricken for record in live)
        complete = len(members) == len(live) == self.membership.target
        return self.changes.settled and not going and complete and self.servers.at_rest

    def _happen(self, event: PlanEvent, *, step: int) -> None:
        """One event of the plan."""
        by = f"by the plan ({describe(event)})"
        if event.scale is not None or event.scale_servers is not None:
            try:
                if event.scale is not None:
                    self._scale(event.scale, by=by)
                else:
                    self.servers.scale(event.scale_servers or 0, by=by)
            except CoordinatorError as error:
                self.event("plan_refused", f"the plan's {describe(event)} was not done: {error}")
            return
        if event.kill_coordinator:
            self.log.record("plan_signal", f"the plan ({describe(event)}) kills the coordinator", step=step)
            self.around.die()
            return
        training = [self.workers[worker] for worker in self.changes.training()]
        text = strike(event, training=training, serving=self.servers.serving(), agent=self.agent)
        self.log.record("plan_signal", text, step=step)

    def _scale(self, workers: int, *, by: str) -> None:
        old = self.membership.target
        self._memory.asked_for_more()
        try:
            decisions = self.membership.handle(ev.TargetChanged(workers))
        except ConfigError as error:
            raise CoordinatorError(str(error), status=422) from error
        self.event("scale_requested", f"{workers} workers are wanted {by}; so far {old}", before=old, after=workers)
        self._carry_out(decisions)

    def exited(self, record: WorkerRecord, how: str, *, exit_code: int | None = None) -> None:
        """A worker's process is gone. ``exit_code``: None if unknown."""
        if record.gone:
            return
        record.gone = True
        if self.over:
            return
        if not self._was_to_go(record, exit_code):
            self.changes.lost(record.worker, how, now_s=self.now_s())
        else:
            self.changes.left(record.worker)
            if exit_code == 0 and record.entered and not self.changes.settled:
                # It left at the boundary, so the others are past it: their word is under way. Membership, which knows
                # no exit codes, would take this for a death before the boundary and interrupt them.
                self._leavers[record.worker] = self.now_s()
                return
        self.handle(ev.WorkerGone(record.worker))

    def ran_out_of_memory(self, record: WorkerRecord) -> None:
        """The kernel has killed ``record``'s process, which has been noted already, for lack of memory."""
        if self.over or self._stopping:
            return
        left, step = self.changes.training(), self.progress.step
        verdict = self._memory.died(record.worker, step=step, left=left, minimum=self.spec.min_workers)
        if isinstance(verdict, GiveUp):
            self.end("failed-memory", verdict.why)
        elif isinstance(verdict, Fewer):
            self.event("out_of_memory", verdict.why, before=self.membership.target, after=verdict.workers)
            self._carry_out(self.membership.handle(ev.TargetChanged(verdict.workers)))

    def expel(self, record: WorkerRecord, kind: str, why: str) -> None:
        """A worker that hangs, or that others cannot reach, counts as lost; should it wake up, it is to leave."""
        if record.gone:
            return
        record.expelled = True
        self.event(kind, f"{record.worker} is {why}; it is expelled")
        record.send(Retire(f"expelled: {why}"))
        self.exited(record, f"expelled ({why})")

    def write_scalars(self, fresh: int) -> None:
        """Hand the last ``fresh`` commits to TensorBoard, if it is there."""
        if self._scalars is not None:
            workers, now_s = len(self.changes.training()), self.moment.unix_s
            self._scalars.add_commits(self.progress, fresh=fresh, workers=workers, now_s=now_s)

    def release_leavers(self, *, before_s: float = inf) -> None:
        """Let membership know of workers that left, up to ``before_s``: nothing hangs on it any more."""
        for worker, since_s in list(self._leavers.items()):
            if since_s <= before_s:
                del self._leavers[worker]
                self.handle(ev.WorkerGone(worker))

    @property
    def first_leaver_s(self) -> float:
        """Since when the one of them has been gone that left first; infinity if there is none."""
        return min(self._leavers.values(), default=inf)

    def _was_to_go(self, record: WorkerRecord, exit_code: int | None) -> bool:
        """Whether the end of this process is no loss."""
        if record.finished is not None or record.retired:
            return True
        training = record.worker in self.changes.training()
        if record.entered and not self.changes.is_member_of_newest(record.worker):
            # It may have switched out of its generation before any word of the new one's members arrived here.
            return exit_code == 0 or not training
        return record.leaving and not training

    def handle(self, event: ev.MembershipEvent) -> None:
        """Let membership know, and carry out what it decides."""
        if not self.over:
            self._carry_out(self.membership.handle(event))
            self.follow_plan()

    def _carry_out(self, decisions: Sequence[ev.Decision]) -> None:
        for decision in decisions:
            if self.over:  # EndJob was among them
                return
            self._do(decision)

    def _do(self, decision: ev.Decision) -> None:
        match decision:
            case ev.StartWorkerProcess(worker):
                self.workers[worker] = WorkerRecord(name=worker)
                self.agent.send(StartWorker(worker))
            case ev.AnnounceGeneration(generation, kind, places, to):
                ranks = {place.worker: place.rank for place in places}
                self.changes.announced(generation, kind, ranks=ranks, now_s=self.now_s())
                members = [Member(place.worker, place.rank, place.host, place.port) for place in places]
                form = FormGeneration(generation, kind, members)
                for worker in to:
                    self.workers[worker].send(form)
            case ev.InterruptGeneration(generation, to):
                for worker in to:
                    self.workers[worker].send(Interrupt(generation))
                self.release_leavers()
            case ev.AskToStop(to):
                for worker in to:
                    self.workers[worker].send(StopJob("stop was requested"))
            case ev.RetireWorker(worker, reason):
                self.workers[worker].retired = True
                self.workers[worker].send(Retire(reason))
            case ev.ExpelWorker(worker, reason):
                self.expel(self.workers[worker], "worker_cut_off", f"cut off: {reason}")
            case ev.FindState(lost):
                if lost:
                    self.servers.begin_again()
                if (missing := self.checkpoints.find(lost, leaving=self.agent.leaving)) is not None:
                    self.handle(missing)
                else:
                    self.look_for_state()
            case ev.EndJob(outcome, reason):
                self.end(outcome, reason)

    def end(self, outcome: ev.Outcome, reason: str, *, grace_s: float = _GRACE_S) -> None:
        """The job is over: say so to everyone, and freeze what is known."""
        ranks = {} if self.changes.current is None else self.changes.current.ranks
        last_words = {worker: message for worker in ranks if (message := self.workers[worker].finished) is not None}
        for words in last_words.values():  # not before: the main worker's own report may still be under way
            self.progress.finish(steps=words.steps, samples=words.samples, now_s=self.now_s())
        problem = weights_problem(last_words)
        if outcome in ("finished", "stopped") and problem is not None:
            outcome, reason = "failed-diverged", problem
        elif outcome in ("failed-script", "failed-diverged") and self.script_error is not None:
            reason = self.script_error
        self.changes.end()
        self.servers.changes.end()
        self.publications.end()
        unreached = self.schedule.unreached()
        if unreached:
            what = "; ".join(describe(event) for event in unreached)
            self.event("plan_unreached", f"the job ended at step {self.progress.step}, before the plan's: {what}")
        end = End.of(outcome, reason, finished=list(last_words.values()))
        steps = "after 1 step" if self.progress.step == 1 else f"after {self.progress.step} steps"
        # Of a traceback, the last line says what happened, of our own texts the first; the status has all of it.
        line = 0 if outcome == "failed-diverged" else -1
        why = "" if end.error is None else f": {end.error.strip().splitlines()[line]}"
        self.event(end.event_kind, f"job {end.state} {steps}{why}")
        for record in self.workers.values():
            if not record.gone and record.finished is None:
                record.send(Retire(f"the job is {end.state}"))
        self.servers.retire_all(f"the job is {end.state}")
        self.agent.send(StopAgent(grace_s))
        if self._scalars is not None:
            self._scalars.close()
        view = self._view(end)
        self.ending = Ending(job_status(view), self._report(view))
        self.around.keep_end(self.id, self.ending.status, self.ending.report)
