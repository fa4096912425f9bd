"""A job as it was when its coordinator died: made anew, and told again all that its journal holds."""

from __future__ import annotations

from collections.abc import Iterable

from pliant.control import inputs as given
from pliant.control.intake import handle
from pliant.control.job import Job
from pliant.control.links import Link, Peer
from pliant.control.surroundings import Surroundings
from pliant.errors import CoordinatorError, ProtocolError
from pliant.wire.api import JobSpec
from pliant.wire.message import Message


class _Nowhere:
    """The link of somebody who was connected then: what is said was said already."""

    def send(self, message: Message) -> None:
        """Nothing."""

    def close(self, code: int, reason: str) -> None:
        """Nothing."""


class _Numbers:
    """The events' numbers as they were given then."""

    def __init__(self) -> None:
        self.seq = 0

    def next(self) -> int:
        self.seq += 1
        return self.seq


def replay(job_id: str, spec: JobSpec, entries: Iterable[given.Entry]) -> Job | None:
    """The job after all ``entries``; None if there is none, not even that of its creation.

    It touches nothing until :meth:`Job.go_live`. Nobody is connected to it: workers and agent will come back.
    """
    numbers = _Numbers()
    around = Surroundings(lambda *_: None, numbers.next, lambda *_: None)
    job: Job | None = None
    links: dict[str, Link] = {}
    for entry in entries:
        numbers.seq = entry.moment.seq
        if job is None:
            job = Job(job_id, spec, around, moment=entry.moment)
            continue
        who, begins = _connection(entry.input)
        link = _Nowhere() if begins else links.get(who)
        try:
            handle(job, entry, link)
        except (ProtocolError, CoordinatorError):
            continue  # it was refused then as well
        if begins and link is not None:
            links[who] = link
    if job is not None:
        for peer in (job.agent, *job.processes()):
            _let_go(peer, now_s=job.now_s())
    return job


def _connection(item: given.Input) -> tuple[str, bool]:
    """Whose connection an input is about (the agent's name is empty), and whether it begins with it."""
    if isinstance(item, given.WorkerSaid):  # nearly all of them
        return "", False
    match item:
        case given.WorkerConnected(hello):
            return hello.worker, True
        case given.WorkerDisconnected(worker):
            return worker, False
        case given.ServerConnected(hello):
            return hello.server, True
        case given.ServerDisconnected(server):
            return server, False
        case given.AgentConnected():
            return "", True
    return "", False


def _let_go(peer: Peer, *, now_s: float) -> None:
    if peer.link is not None:
        peer.detach(peer.link, now_s=now_s)
