"""What follows from nothing happening. ``due`` looks at the clock; ``ran_out`` does what follows, as for any input."""

from __future__ import annotations

from collections.abc import Iterator

from pliant.control.inputs import TimeRanOut
from pliant.control.job import Job
from pliant.control.links import WorkerRecord
from pliant.ids import WorkerId

_SIGKILL = 9
AGENT_PATIENCE_S = 60.0
"""How long a new job waits for its agent, before it fails."""


def due(job: Job, now_s: float) -> Iterator[TimeRanOut]:
    """What has run out by now. Each is to be handed to :func:`ran_out` before the next one is asked for."""
    if job.over:
        return
    patience_s = job.spec.patience_s
    if job.agent.pid is None:
        if now_s - job.created.time_s > AGENT_PATIENCE_S:
            yield TimeRanOut("agent_never_came")
    elif not job.agent.lost and job.agent.away_s(now_s) > patience_s:
        yield TimeRanOut("agent_away")
    if job.agent.lost:
        for record in list(job.workers.values()):
            if not record.gone and _vanished(record, now_s, patience_s=patience_s):
                yield TimeRanOut("worker_vanished", record.worker)
    for worker in _silent(job, now_s):
        yield TimeRanOut("worker_silent", worker)
    if now_s - job.first_leaver_s > patience_s:
        yield TimeRanOut("leavers")


def ran_out(job: Job, timer: TimeRanOut) -> None:
    """Do what follows."""
    if job.over:
        return
    record = job.workers.get(WorkerId(timer.worker))
    patience_s = job.spec.patience_s
    if timer.what == "agent_never_came":
        waited_s = job.now_s() - job.created.time_s
        reason = f"no agent came for it within {waited_s:.0f} s; was `pliant run` killed while it started?"
        job.end("failed-lost", reason)
    elif timer.what == "agent_away":
        job.agent.lost = True
        text = f"the agent on {job.agent.node} (pid {job.agent.pid}) has been away for {patience_s:g} s"
        job.event("agent_lost", f"{text}; the workers go on, but none can be started")
    elif timer.what == "worker_vanished" and record is not None:
        job.exited(record, "disconnected, and its agent is lost")
        if not job.over and all(record.gone for record in job.workers.values()):
            job.end("failed-lost", "its agent and all its workers are lost")
    elif timer.what == "worker_silent" and record is not None:
        job.event("worker_silent", f"{record.worker} has not answered for {patience_s:g} s and is killed")
        job.agent.signal(record.worker, _SIGKILL)
    elif timer.what == "leavers":
        job.release_leavers(before_s=job.now_s() - patience_s)


def _vanished(record: WorkerRecord, now_s: float, *, patience_s: float) -> bool:
    """Nobody sees processes end without an agent: a worker that stays disconnected, or never connected, is gone."""
    never = record.link is None and record.away_since_s is None
    return never or record.away_s(now_s) > patience_s


def _silent(job: Job, now_s: float) -> list[WorkerId]:
    """Workers that do not answer an interrupt: the others cannot go on before that."""
    awaited = job.membership.awaited
    job.awaited_since_s = {worker: job.awaited_since_s.get(worker, now_s) for worker in awaited}
    silent = [w for w, since_s in job.awaited_since_s.items() if now_s - since_s > job.spec.patience_s]
    for worker in silent:
        job.awaited_since_s[worker] = now_s
    return silent
