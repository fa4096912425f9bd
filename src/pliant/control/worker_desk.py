"""What a job's workers say, checked against what they may say now.

:class:`~pliant.errors.ProtocolError` means that a message was refused and changed nothing. Called on the event loop.
"""

from __future__ import annotations

import logging

import msgspec

from pliant.control.ending import too_many_workers
from pliant.control.job import Job
from pliant.control.links import Link, WorkerRecord
from pliant.errors import ProtocolError
from pliant.ids import Generation, WorkerId
from pliant.membership import events as ev
from pliant.wire.api import JobSpec
from pliant.wire.messages import (
    CallEnded,
    CheckpointFailed,
    CheckpointSkipped,
    CheckpointWritten,
    GenerationEntered,
    GenerationFailed,
    Interrupted,
    JobRules,
    MilestonePassed,
    MilestoneReached,
    Misbehave,
    RehearsalFailed,
    Retire,
    StepsCommitted,
    WeightsPublished,
    Welcome,
    WorkerFailed,
    WorkerFinished,
    WorkerHello,
    WorkerLeaving,
    WorkerProgress,
    WorkerReady,
    WorkerToCoordinator,
)

_log = logging.getLogger(__name__)
_MOST_CALLS = 100_000
_PATIENT_WAIT_S = 120.0
_MOST_ERROR_TEXT = 100_000


def worker_connected(job: Job, hello: WorkerHello, link: Link) -> WorkerRecord | None:
    """A worker is here, or here again. None: it is not (or no longer) wanted and was told to exit."""
    record = job.workers.get(WorkerId(hello.worker))
    if record is None or record.gone or job.over or hello.launch != job.spec.launch:
        if record is not None:
            record.heard_s = job.now_s()
        expelled = record is not None and record.expelled
        why = f"{hello.worker} was expelled, and the others go on" if expelled else f"no use for {hello.worker}"
        link.send(Retire(f"job {job.spec.name} is {job.state}: {why}"))
        return None
    if hello.generation > job.changes.newest:
        raise ProtocolError(f"{hello.worker} claims generation {hello.generation}, which was never announced")
    record.pid = hello.pid
    record.heard_s = job.now_s()
    record.attach(link, greeting=_welcome(job))
    job.servers.tell(record)
    job.handle(
        ev.WorkerConnected(
            record.worker,
            host=hello.host,
            port=hello.port,
            generation=Generation(hello.generation),
            stateful=hello.stateful,
        )
    )
    if record.slow != 1.0:  # as above
        record.send(Misbehave(slow=record.slow))
    if job.schedule.reached >= 0:  # said before, perhaps by a coordinator that died before it arrived
        record.send(MilestonePassed(job.schedule.reached))
    return record


def worker_closed(job: Job, record: WorkerRecord, link: Link) -> None:
    """A worker's connection ended, which alone means nothing: only its process's end counts."""
    record.detach(link, now_s=job.now_s())


def worker_said(job: Job, record: WorkerRecord, message: WorkerToCoordinator) -> None:
    """A message of a worker, after its hello. Whatever it says after its end or the job's is ignored."""
    record.heard_s = job.now_s()
    if job.over or record.gone:
        return
    if isinstance(message, StepsCommitted):  # by far the most frequent one
        _committed(job, record, message)
        return
    match message:
        case WorkerHello():
            raise ProtocolError("WorkerHello is the first message of a connection, and only the first")
        case WorkerProgress():
            record.progress = message
        case RehearsalFailed():
            job.rehearse = False
            job.event(
                "rehearsal_failed",
                f"{record.worker} could not rehearse a step ({message.reason[:200]}); "
                "newcomers now join without, and their first step is slower",
            )
        case WorkerReady():
            _readied(job, record, message)
        case GenerationEntered():
            _entered(job, record, message)
        case CallEnded():
            _call_ended(job, record, message)
        case MilestoneReached():
            _milestone(job, record, message)
        case WorkerLeaving():
            record.leaving = True
            job.handle(ev.WorkerAskedToLeave(record.worker))
        case GenerationFailed() | Interrupted():
            _broken(job, record, message)
        case CheckpointWritten() | CheckpointFailed() | CheckpointSkipped():
            _checkpoint(job, record, message)
        case WeightsPublished():
            _published(job, record, message)
        case WorkerFinished():
            _finished(job, record, message)
        case WorkerFailed():
            _script_failed(job, record, message)


def _welcome(job: Job) -> Welcome:
    return Welcome(
        job=job.spec.name,
        patience_s=job.spec.patience_s,
        # Until someone has entered a generation, all that connect may become founders with their own state.
        founding=job.changes.current is None,
        rehearse=job.rehearse,
        milestones=job.schedule.milestones(),
        calls=[job.calls[call] for call in sorted(job.calls)],
        step=job.progress.step,
        epoch=job.progress.epoch,
        loss=job.progress.loss,
        rules=_rules(job.spec),
        restore=job.checkpoints.restore,
    )


def _rules(spec: JobSpec) -> JobRules:
    return JobRules(
        deal=spec.deal,
        strategy=spec.strategy,
        staleness=spec.staleness,
        check_every=spec.check_every,
        trace=spec.trace,
        stop_after=spec.stop_after,
        milestone_wait_s=_PATIENT_WAIT_S if spec.patient_plan else JobRules().milestone_wait_s,
        checkpoints=spec.checkpoints,
        checkpoint_every=spec.checkpoint_every,
        keep=spec.keep,
    )


def _readied(job: Job, record: WorkerRecord, message: WorkerReady) -> None:
    if message.shards < 1 or message.batch_size < 1:
        raise ProtocolError(f"WorkerReady with {message.shards} shards and batch size {message.batch_size}")
    recipe = job.recipes.setdefault(message.call, message)
    record.ready = True
    if (message.shards, message.batch_size) != (recipe.shards, recipe.batch_size):
        job.end(
            "failed-config",
            f"{record.worker} has a loader with batch_size={message.batch_size}, shards={message.shards}, others have "
            f"batch_size={recipe.batch_size}, shards={recipe.shards}; these must not depend on the worker",
        )
        return
    if job.recipe is None:
        total = None if message.total_steps is None else message.total_steps + job.checkpoints.call_began
        job.recipe = msgspec.structs.replace(recipe, total_steps=total)
    recipe = job.recipe
    wanted = max([job.membership.target, *(event.scale or 0 for event in job.spec.plan)])
    if wanted > recipe.shards:
        job.end("failed-config", too_many_workers(wanted, recipe.shards))
        return
    job.handle(ev.WorkerReadied(record.worker, message.shards))


def _entered(job: Job, record: WorkerRecord, message: GenerationEntered) -> None:
    job.changes.entered(
        record.worker, message, is_leaving=lambda worker: job.workers[worker].leaving, now_s=job.now_s()
    )
    record.entered = True
    if job.changes.current is not None:  # else it is late: all have been sent home since
        job.servers.job_begun()
    if job.publications.orders:
        job.tell_orders()
    job.handle(ev.WorkerEntered(record.worker, Generation(message.generation)))
    if job.changes.settled:
        job.release_leavers()


def _committed(job: Job, record: WorkerRecord, message: StepsCommitted) -> None:
    if not record.entered:
        raise ProtocolError(f"StepsCommitted of {record.worker}, which has not entered any generation")
    fresh = job.progress.add(message)
    if fresh:
        job.changes.committed()
        job.servers.committed()
        job.write_scalars(fresh)


def _call_ended(job: Job, record: WorkerRecord, message: CallEnded) -> None:
    if not record.entered or not 0 <= message.call < _MOST_CALLS:
        raise ProtocolError(f"CallEnded({message.call}) of {record.worker} is out of order")
    if message.call in job.calls:
        return
    job.calls[message.call] = message
    training = set(job.changes.training())
    for other in job.workers.values():
        # Those that are away get it with their next welcome.
        if other.worker not in training and not other.gone and other.link is not None:
            other.send(message)


def _milestone(job: Job, record: WorkerRecord, message: MilestoneReached) -> None:
    if not record.entered:
        raise ProtocolError(f"MilestoneReached of {record.worker}, which has not entered any generation")
    job.schedule.reach(message.step)
    job.at_milestone = (record.worker, message.step)
    job.follow_plan()


def _broken(job: Job, record: WorkerRecord, message: GenerationFailed | Interrupted) -> None:
    generation = Generation(message.generation)
    if not 0 < generation <= job.changes.newest:
        raise ProtocolError(f"{type(message).__name__} for generation {generation}, which was never announced")
    if isinstance(message, Interrupted):
        job.handle(
            ev.WorkerInterrupted(
                record.worker,
                generation,
                stateful=message.stateful,
                entered=Generation(message.entered),
                missing=tuple(WorkerId(peer) for peer in message.missing),
            )
        )
        return
    peer = f" (lost {message.peer})" if message.peer else ""
    _log.info("job %s: generation %d broke at %s%s: %s", job.spec.name, generation, record.worker, peer, message.reason)
    lost = None if message.peer is None else WorkerId(message.peer)
    job.handle(ev.GenerationBroke(record.worker, generation, unused=message.unused, peer=lost, closed=message.closed))


def _checkpoint(
    job: Job, record: WorkerRecord, message: CheckpointWritten | CheckpointFailed | CheckpointSkipped
) -> None:
    if not record.entered:
        raise ProtocolError(f"{type(message).__name__} of {record.worker}, which has not entered any generation")
    match message:
        case CheckpointWritten():
            job.checkpoints.written(message, now_s=job.now_s(), always=job.state == "stopping")
        case CheckpointFailed():
            job.checkpoints.failed(message)
        case CheckpointSkipped():
            job.checkpoints.skipped(message)


def _published(job: Job, record: WorkerRecord, message: WeightsPublished) -> None:
    if not record.entered:
        raise ProtocolError(f"WeightsPublished of {record.worker}, which has not entered any generation")
    job.weights_published(message)


def _finished(job: Job, record: WorkerRecord, message: WorkerFinished) -> None:
    if not record.entered:
        raise ProtocolError(f"WorkerFinished of {record.worker}, which has not entered any generation")
    if record.finished is None:
        record.finished = message
        job.handle(ev.WorkerEnded(record.worker))


def _script_failed(job: Job, record: WorkerRecord, message: WorkerFailed) -> None:
    if record.entered:
        job.progress.finish(steps=message.steps, samples=message.samples, now_s=job.now_s())
    if message.kind == "diverged":
        job.script_error = message.error[:_MOST_ERROR_TEXT]
        job.event("workers_diverged", f"{record.worker} reports: {message.error.splitlines()[0][:1000]}")
        job.handle(ev.WorkersDiverged(record.worker))
        return
    _log.info("job %s: the script raised on %s: %s", job.spec.name, record.worker, message.error)
    job.script_error = (message.traceback.strip() or message.error)[-_MOST_ERROR_TEXT:]
    job.handle(ev.WorkerScriptFailed(record.worker))
