"""From what is known of a job to its status and its report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pliant.control.progress import Progress, median_gap_s
from pliant.wire.api import Event, FailureKind, JobSpec, JobState, JobStatus, Report, ServerStatus, WorkerStatus
from pliant.wire.messages import WorkerReady


@dataclass(frozen=True)
class JobView:
    """Everything that status and report are made from."""

    spec: JobSpec
    state: JobState
    progress: Progress
    recipe: WorkerReady | None
    generation: int
    target: int
    started_s: float
    workers: list[WorkerStatus]
    error: str | None
    failure: FailureKind | None
    weights_sha256: str | None
    final_loss: float | None
    servers: list[ServerStatus] = field(default_factory=list)
    target_servers: int = 0


def job_status(view: JobView) -> JobStatus:
    """``GET /v1/jobs/NAME``."""
    progress, recipe = view.progress, view.recipe
    # What is known is the length of the script's first job.steps call: with several, there is no knowing the end.
    total = recipe.total_steps if recipe else None
    one_call = total is None or progress.step <= total
    return JobStatus(
        name=view.spec.name,
        state=view.state,
        script=view.spec.script,
        step=progress.step,
        total_steps=total if one_call else None,
        epoch=progress.epoch,
        epochs=recipe.epochs if recipe and one_call else None,
        loss=progress.loss,
        steps_per_s=progress.steps_per_s(),
        samples=progress.samples,
        shards=recipe.shards if recipe else None,
        generation=view.generation,
        target_workers=view.target,
        min_workers=view.spec.min_workers,
        max_workers=view.spec.max_workers,
        started_s=view.started_s,
        workers=view.workers,
        error=view.error,
        failure=view.failure,
        weights_sha256=view.weights_sha256,
        strategy=view.spec.strategy,
        servers=view.servers,
        target_servers=view.target_servers,
        min_servers=view.spec.min_servers if view.target_servers else 0,
        max_servers=view.spec.max_servers if view.target_servers else 0,
        staleness=view.spec.staleness,
        mean_staleness=progress.mean_staleness(),
    )


def job_report(
    view: JobView,
    *,
    events: list[Event],
    workers_over_time: Sequence[tuple[float, int]],
    servers_over_time: Sequence[tuple[float, int]] = (),
) -> Report:
    """``GET /v1/jobs/NAME/report``. ``workers_over_time`` and ``servers_over_time`` are in monotonic seconds."""
    progress = view.progress
    times_s = progress.times_s
    # A commit may be reported before its generation's entry was seen; time then begins with the commit.
    origin_s = min(progress.origin_s or 0.0, times_s[0]) if times_s else (progress.origin_s or 0.0)
    wall_s = times_s[-1] - origin_s if times_s else 0.0
    median_s = median_step_s(times_s, origin_s=origin_s)
    return Report(
        name=view.spec.name,
        state=view.state,
        script=view.spec.script,
        steps=progress.step,
        samples=progress.samples,
        wall_s=wall_s,
        median_step_s=median_s,
        goodput=goodput(len(times_s), median_s=median_s, wall_s=wall_s),
        final_loss=progress.loss if view.final_loss is None else view.final_loss,
        weights_sha256=view.weights_sha256,
        events=events,
        commit_times_s=[time_s - origin_s for time_s in times_s],
        losses=list(progress.losses),
        workers_over_time=[(max(0.0, time_s - origin_s), workers) for time_s, workers in workers_over_time],
        first_step=progress.first_step,
        strategy=view.spec.strategy,
        servers_over_time=[(max(0.0, time_s - origin_s), servers) for time_s, servers in servers_over_time],
        staleness=view.spec.staleness,
        mean_staleness=progress.mean_staleness(),
        pushes_by_staleness=dict(progress.pushes),
    )


def median_step_s(times_s: Sequence[float], *, origin_s: float) -> float:
    """Median of the gaps between commits; of one commit alone, its time since the beginning; 0 for none."""
    if len(times_s) == 1:
        return times_s[0] - origin_s
    return median_gap_s(times_s)


def goodput(steps: int, *, median_s: float, wall_s: float) -> float:
    """Share of the time that ordinary steps would have needed; at most 1, and 0 if nothing was done."""
    return min(1.0, steps * median_s / wall_s) if wall_s > 0 else 0.0
