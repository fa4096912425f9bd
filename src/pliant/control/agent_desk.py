"""What a job's agent says, and what becomes of its processes when it dies and another one takes over.

:class:`~pliant.errors.ProtocolError` means that a message was refused and changed nothing. Called on the event loop.
"""

from __future__ import annotations

import signal
from collections.abc import Set as AbstractSet

from pliant.control.ending import exit_text
from pliant.control.job import Job
from pliant.control.links import Link, ProcessRecord, ServerRecord, WorkerRecord
from pliant.errors import ProtocolError
from pliant.membership.silence_plan import ProcessLook
from pliant.wire.agent_messages import (
    UNKNOWN_EXIT,
    AdoptWorker,
    AgentHello,
    AgentLeaving,
    AgentToCoordinator,
    StartWorker,
    StopAgent,
    WorkerExited,
    WorkerProbed,
    WorkerStarted,
)


def agent_connected(job: Job, hello: AgentHello, link: Link) -> None:
    """The job's agent is here, or here again, or another one in its place.

    Raises:
        ProtocolError: The job has another agent, which is connected.
    """
    if job.agent.pid not in (None, hello.pid) and job.agent.link is not None:
        raise ProtocolError(f"job {job.spec.name} has another agent, pid {job.agent.pid}")
    known, returned = job.agent.pid, job.agent.lost
    job.agent.pid, job.agent.node, job.agent.lost = hello.pid, hello.node, False
    job.agent.died_s = None
    waiting = {message.worker for message in job.agent.waiting if isinstance(message, StartWorker)}
    job.agent.attach(link)
    if job.over:
        link.send(StopAgent(0.0))
    elif known == hello.pid:
        if returned:
            job.event("agent_returned", f"the agent on {hello.node} (pid {hello.pid}) is back")
        _compare_with_agent(job, hello, waiting)
    elif known is not None:
        _hand_over(job, hello, waiting)


def agent_died(job: Job, pid: int, *, replaced: bool) -> None:
    """The agent's process is gone; workers and servers are not."""
    if job.over or job.agent.pid != pid:
        return
    job.agent.died_s = job.now_s()
    if job.agent.leaving and all(record.gone for record in job.processes()):
        job.end("failed-lost", f"the job's agent (pid {pid}) was told to end, and has ended all its workers")
        return
    text = f"the job's agent (pid {pid}) has died; the workers go on"
    job.event("agent_lost", f"{text}, and another agent is started for them" if replaced else text)


def _compare_with_agent(job: Job, hello: AgentHello, waiting: AbstractSet[str]) -> None:
    """A command that was under way when an agent's connection broke may be lost.

    An exit cannot: the agent tells it until it has been taken, so a worker that it does not know any more has an exit
    on its way to here.
    """
    for record in job.processes():
        if _over(record) or record.name in waiting:
            continue
        if record.name in hello.workers:
            record.pid, record.adopting = hello.workers[record.name], False
            if record.doomed:
                job.agent.signal(record.name, signal.SIGKILL)
        elif record.adopting:
            _adopt(job, record)
        elif record.pid is None:
            job.agent.send(StartWorker(record.name, record.role))


def _hand_over(job: Job, hello: AgentHello, waiting: AbstractSet[str]) -> None:
    """A new agent takes over: it watches the workers that there are, and starts those that are still wanted."""
    adopted = []
    for record in job.processes():
        if _over(record) or record.name in waiting:
            continue
        if record.pid is None:
            job.agent.send(StartWorker(record.name, record.role))
        else:
            _adopt(job, record)
            adopted.append(record.name)
    text = f"another agent (pid {hello.pid}) has taken over {', '.join(adopted) or 'no worker'}"
    job.event("agent_returned", text)


def _over(record: ProcessRecord) -> bool:
    """There is no process that anybody has to look after."""
    return record.exited or (record.gone and not record.expelled)


def _adopt(job: Job, record: ProcessRecord) -> None:
    record.adopting = True
    job.agent.send(AdoptWorker(record.name, record.pid or 0, record.device))
    if record.doomed:
        job.agent.signal(record.name, signal.SIGKILL)


def agent_said(job: Job, message: AgentToCoordinator) -> None:
    """A message of the agent, after its hello."""
    if isinstance(message, AgentHello):
        raise ProtocolError("AgentHello is the first message of a connection, and only the first")
    if isinstance(message, AgentLeaving):
        job.agent.leaving = True
        if not job.over:
            job.event("agent_leaving", f"the job's agent was told to end ({message.reason}), and ends its workers")
        return
    record = job.process(message.worker)
    if record is None:
        raise ProtocolError(f"{type(message).__name__} for {message.worker}, which was never asked for")
    if isinstance(message, WorkerStarted):
        record.pid, record.device, record.adopting = message.pid, message.device, False
    elif isinstance(message, WorkerProbed):
        record.look = ProcessLook(job.now_s(), message.stopped, message.cpu_s)
    elif isinstance(message, WorkerExited):
        _exited(job, record, message)


def _exited(job: Job, record: ProcessRecord, message: WorkerExited) -> None:
    if record.expelled and not record.exited:
        job.event("expelled_ended", f"{record.name}, expelled before, has ended: {exit_text(message.exit_code)}")
        record.exited = True
        job.look_for_state()
    record.exited = True
    code = None if message.exit_code == UNKNOWN_EXIT else message.exit_code
    starved = message.out_of_memory and not record.gone
    how = exit_text(message.exit_code) + (" for lack of memory" if starved else "")
    if isinstance(record, ServerRecord):
        job.servers.exited(record, how)
        if starved:
            job.servers.ran_out_of_memory(record)
    elif isinstance(record, WorkerRecord):
        job.exited(record, how, exit_code=code)
        if starved:
            job.ran_out_of_memory(record)


def agent_closed(job: Job, link: Link) -> None:
    """The agent's connection ended. Only after ``patience_s`` that means anything (:mod:`pliant.control.timers`)."""
    job.agent.detach(link, now_s=job.now_s())
