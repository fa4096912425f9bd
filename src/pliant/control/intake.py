"""The one door to a job: whatever happens is put into the journal, and then handled.

In this order, so that a coordinator which is killed in between has told nobody anything that its successor will not
know. An input that is refused (ProtocolError, CoordinatorError) is journaled too, and refused again when it is
replayed.
"""

from __future__ import annotations

from pliant.control import inputs as given
from pliant.control.agent_desk import agent_closed, agent_connected, agent_died, agent_said
from pliant.control.clock import Clock
from pliant.control.job import Job
from pliant.control.journal import Journal
from pliant.control.links import Link, ProcessRecord, ServerRecord, WorkerRecord
from pliant.control.misbehaving import misbehave
from pliant.control.server_desk import server_closed, server_connected, server_said
from pliant.control.timers import ran_out
from pliant.control.worker_desk import worker_closed, worker_connected, worker_said
from pliant.errors import ProtocolError
from pliant.ids import ServerId, WorkerId


class Intake:
    """Takes what happens to the jobs of one coordinator."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    def moment(self, seq: int) -> given.Moment:
        """Now. ``seq``: the newest event's number."""
        return given.Moment(self._clock.monotonic(), self._clock.unix(), seq)

    def take(self, job: Job, item: given.Input, *, seq: int, link: Link | None = None) -> ProcessRecord | None:
        """Journal and handle ``item``; see :func:`handle`."""
        entry = given.Entry(self.moment(seq), item)
        if not job.over and not isinstance(getattr(item, "message", None), given.UNTOLD):
            self._journal.record(job.id, entry)
        return handle(job, entry, link)


def handle(job: Job, entry: given.Entry, link: Link | None = None) -> ProcessRecord | None:
    """Do what an input means.

    Args:
        job: what it happens to.
        entry: the input and its moment.
        link: of a connection that begins or has ended.

    Returns:
        For a connecting worker or server its record; None if it is not wanted, and for all other inputs.

    Raises:
        ProtocolError: A worker, a server or an agent said what it may not say now. Nothing has changed.
        CoordinatorError: A user asked for what is not possible. Nothing has changed.
    """
    job.moment, item = entry.moment, entry.input
    if isinstance(item, given.WorkerSaid):  # nearly all of them
        worker_said(job, _known(job, item.worker), item.message)
        return None
    match item:
        case given.WorkerConnected(hello) if link is not None:
            return worker_connected(job, hello, link)
        case given.WorkerDisconnected(worker) if link is not None:
            worker_closed(job, _known(job, worker), link)
        case given.ServerConnected(server_hello) if link is not None:
            return server_connected(job, server_hello, link)
        case given.ServerSaid(server, said):
            server_said(job, _known_server(job, server), said)
        case given.ServerDisconnected(server) if link is not None:
            server_closed(job, _known_server(job, server), link)
        case given.AgentConnected(hello) if link is not None:
            agent_connected(job, hello, link)
        case given.AgentSaid(message):
            agent_said(job, message)
        case given.AgentDisconnected() if link is not None:
            agent_closed(job, link)
        case given.AgentDied(pid, replaced):
            agent_died(job, pid, replaced=replaced)
        case given.ScaleAsked(workers):
            job.scale(workers)
        case given.ScaleServersAsked(servers):
            job.scale_servers(servers)
        case given.StopAsked(now):
            job.stop(now=now)
        case given.FaultAsked(asked):
            misbehave(job, asked)
        case given.TimeRanOut() as timer:
            ran_out(job, timer)
        case given.CheckpointChosen() as choice:
            job.checkpoint_chosen(choice)
        case given.JobTakenUp(away_s):
            job.taken_up(away_s)
        case _:
            pass
    return None


def _known(job: Job, worker: str) -> WorkerRecord:
    record = job.workers.get(WorkerId(worker))
    if record is None:
        raise ProtocolError(f"job {job.spec.name} has no worker {worker}")
    return record


def _known_server(job: Job, server: str) -> ServerRecord:
    record = job.servers.records.get(ServerId(server))
    if record is None:
        raise ProtocolError(f"job {job.spec.name} has no server {server}")
    return record
