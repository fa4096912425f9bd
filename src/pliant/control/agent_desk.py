"""What a job's agent says, and what follows from its silence and that of the workers.

:class:`~pliant.errors.ProtocolError` means that a message was refused and changed nothing. Called on the event loop.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from pliant.control.ending import exit_text
from pliant.control.job import Job
from pliant.control.links import Link
from pliant.errors import ProtocolError
from pliant.ids import WorkerId
from pliant.wire.messages import AgentHello, AgentToCoordinator, StartWorker, StopAgent, WorkerExited, WorkerStarted

_SIGKILL = 9


def agent_connected(job: Job, hello: AgentHello, link: Link) -> None:
    """The job's agent is here, or here again.

    Raises:
        ProtocolError: The job has another agent already.
    """
    if job.agent.pid not in (None, hello.pid):
        raise ProtocolError(f"job {job.spec.name} has another agent, pid {job.agent.pid}")
    again = job.agent.pid is not None
    if job.agent.lost:
        job.event("agent_returned", f"the agent on {hello.node} (pid {hello.pid}) is back")
    job.agent.pid, job.agent.node, job.agent.lost = hello.pid, hello.node, False
    waiting = {message.worker for message in job.agent.waiting if isinstance(message, StartWorker)}
    job.agent.attach(link)
    if job.over:
        link.send(StopAgent(0.0))
    elif again:
        _compare_with_agent(job, hello, waiting)
    job.note()


def _compare_with_agent(job: Job, hello: AgentHello, waiting: AbstractSet[str]) -> None:
    """What was under way when an agent's connection broke may be lost: an exit, or a command to start."""
    for record in list(job.workers.values()):
        if record.gone or record.worker in hello.workers or record.worker in waiting:
            continue
        if record.pid is None:
            job.agent.send(StartWorker(record.worker))
        else:
            job.exited(record, "its agent does not know it any more")


def agent_said(job: Job, message: AgentToCoordinator) -> None:
    """A message of the agent, after its hello."""
    if isinstance(message, AgentHello):
        raise ProtocolError("AgentHello is the first message of a connection, and only the first")
    record = job.workers.get(WorkerId(message.worker))
    if record is None:
        raise ProtocolError(f"{type(message).__name__} for {message.worker}, which was never asked for")
    if isinstance(message, WorkerStarted):
        record.pid = message.pid
    elif isinstance(message, WorkerExited):
        record.pid = message.pid
        job.exited(record, exit_text(message.exit_code), exit_code=message.exit_code)


def agent_closed(job: Job, link: Link) -> None:
    """The agent's connection ended. Only after ``patience_s`` that means anything (:meth:`tick`)."""
    job.agent.detach(link, now_s=job.now_s())


def tick(job: Job) -> None:
    """Called a few times a second: what follows from nothing happening; and the journal's share of progress."""
    if job.over:
        return
    now_s, patience_s = job.now_s(), job.spec.patience_s
    if job.agent.pid is None:
        waited_s = now_s - job.created_s
        if waited_s > job.around.agent_patience_s:
            reason = f"no agent came for it within {waited_s:.0f} s; was `pliant run` killed while it started?"
            job.end("failed-lost", reason)
    elif not job.agent.lost and job.agent.away_s(now_s) > patience_s:
        job.agent.lost = True
        text = f"the agent on {job.agent.node} (pid {job.agent.pid}) has been away for {patience_s:g} s"
        job.event("agent_lost", f"{text}; the workers go on, but none can be started")
    if job.agent.lost:
        _watch_without_agent(job, now_s)
    _kill_silent(job, now_s)
    job.release_leavers(before_s=now_s - patience_s)
    job.note()


def _kill_silent(job: Job, now_s: float) -> None:
    """Kill workers that do not answer an interrupt: the others cannot go on before that."""
    awaited = job.membership.awaited
    job.awaited_since_s = {worker: job.awaited_since_s.get(worker, now_s) for worker in awaited}
    for worker, since_s in list(job.awaited_since_s.items()):
        if now_s - since_s > job.spec.patience_s:
            job.awaited_since_s[worker] = now_s
            job.event("worker_silent", f"{worker} has not answered for {job.spec.patience_s:g} s and is killed")
            job.agent.signal(worker, _SIGKILL)


def _watch_without_agent(job: Job, now_s: float) -> None:
    """Nobody sees processes end now: a worker that stays disconnected, or never connected, counts as gone."""
    for record in list(job.workers.values()):
        never = record.link is None and record.away_since_s is None
        if not record.gone and (never or record.away_s(now_s) > job.spec.patience_s):
            job.exited(record, "disconnected, and its agent is lost")
    if not job.over and all(record.gone for record in job.workers.values()):
        job.end("failed-lost", "its agent and all its workers are lost")
