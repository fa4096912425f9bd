"""What follows from nothing happening. ``due`` looks at the clock; ``ran_out`` does what follows, as for any input."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from pliant.control.inputs import Timer, TimeRanOut
from pliant.control.job import Job
from pliant.control.links import ProcessRecord, ServerRecord, WorkerRecord
from pliant.membership.silence_plan import Sight, SilenceWatch
from pliant.timeouts import Timeouts
from pliant.wire.agent_messages import ProbeWorker

_TIMERS: dict[str, Timer] = {"slow": "worker_slow", "expel": "worker_silent", "kill": "worker_stays"}
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
        for record in job.processes():
            if not record.gone and _vanished(record, now_s, patience_s=patience_s):
                yield TimeRanOut("worker_vanished", record.name)
    if now_s - job.first_leaver_s > patience_s:
        yield TimeRanOut("leavers")


def ran_out(job: Job, timer: TimeRanOut) -> None:
    """Do what follows."""
    if job.over:
        return
    record = job.process(timer.worker)
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
        _gone(job, record, "disconnected, and its agent is lost")
        if not job.over and all(record.gone for record in job.workers.values()):
            job.end("failed-lost", "its agent and all its workers are lost")
    elif timer.what == "worker_slow" and record is not None:
        job.event(f"{record.role}_slow", f"{record.name} is {timer.detail}; it is not taken for hung")
    elif timer.what == "worker_silent" and record is not None:
        _expel(job, record, timer.detail)
    elif timer.what == "worker_stays" and record is not None:
        job.agent.signal(record.name, signal.SIGKILL)
    elif timer.what == "leavers":
        job.release_leavers(before_s=job.now_s() - patience_s)


def _gone(job: Job, record: ProcessRecord, how: str) -> None:
    if isinstance(record, ServerRecord):
        job.servers.exited(record, how)
    elif isinstance(record, WorkerRecord):
        job.exited(record, how)


def _expel(job: Job, record: ProcessRecord, why: str) -> None:
    if isinstance(record, ServerRecord):
        job.servers.expel(record, why)
    elif isinstance(record, WorkerRecord):
        job.expel(record, "worker_silent", why)


def _vanished(record: ProcessRecord, now_s: float, *, patience_s: float) -> bool:
    """Nobody sees processes end without an agent: a worker that stays disconnected, or never connected, is gone."""
    never = record.link is None and record.away_since_s is None
    return never or record.away_s(now_s) > patience_s


class Silence:
    """Watches over who of one job's workers and servers hangs (:mod:`pliant.membership.silence_plan`). Not journaled.

    Another coordinator begins to listen anew: what it has not seen does not count.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._watch = SilenceWatch(Timeouts(job.spec.patience_s))

    def due(self, now_s: float) -> Iterator[TimeRanOut]:
        """What has run out by now; asks the agent to look at silent workers."""
        if self._job.over:
            return
        for found in self._watch.look(self._sights(), now_s=now_s):
            if found.what == "probe":
                if self._job.agent.link is not None:
                    self._job.agent.send(ProbeWorker(found.worker))
            else:
                yield TimeRanOut(_TIMERS[found.what], found.worker, found.detail)

    def _sights(self) -> Iterator[Sight]:
        awaited = self._job.membership.awaited
        for record in self._job.processes():
            # Who has finished or was dismissed says nothing more; what is left of it is ended with the job.
            if record.exited or not record.met or (record.dismissed and not record.expelled):
                continue
            owing = record.name in awaited
            yield Sight(record.name, record.heard_s, owing, record.expelled, record.look)
