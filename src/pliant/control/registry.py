"""All jobs of a coordinator, by name; agents that came before their job; and whether anybody needs the coordinator."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pliant.control.agent_desk import agent_connected, tick
from pliant.control.archive import ArchivedJob, lost_status
from pliant.control.clock import Clock
from pliant.control.event_log import EventLog
from pliant.control.job import Job
from pliant.control.journal import Journal, KeptJob
from pliant.control.links import Link
from pliant.control.spec_plan import check_spec
from pliant.control.streams import Streams
from pliant.control.surroundings import Surroundings
from pliant.errors import ConfigError, CoordinatorError
from pliant.wire.api import Event, JobSpec, JobStatus
from pliant.wire.messages import AgentHello, StopAgent

_log = logging.getLogger(__name__)
_KEPT_JOBS = 50
_EARLY_AGENT_S = 60.0


@dataclass
class _EarlyAgent:
    hello: AgentHello
    link: Link
    since_s: float


class Registry:
    """Owns the jobs. Event loop only; see :mod:`pliant.control.job`."""

    def __init__(self, journal: Journal, *, clock: Clock | None = None, home: Path | None = None) -> None:
        """Takes up from ``journal``; jobs that were live in it are declared lost. ``home``: where jobs leave files."""
        self.clock = clock or Clock()
        self.streams = Streams()
        self.jobs: dict[str, Job | ArchivedJob] = {}
        self.event_counts: Counter[tuple[str, str]] = Counter()
        self.refused_messages = 0
        self.open_sockets = 0
        self._journal = journal
        self._seq = journal.last_seq()
        self._early: dict[str, _EarlyAgent] = {}
        self._used_s = self.clock.monotonic()
        self._around = Surroundings(self.clock, journal, self._next_seq, self._publish, home)
        for kept in journal.jobs():
            self._remember(kept)

    # ------------------------------------------------------------ jobs

    def create(self, spec: JobSpec) -> Job:
        """A new job.

        Raises:
            CoordinatorError: 422: the spec cannot work (all problems); 409: a live job has that name.
        """
        try:
            check_spec(spec)
        except ConfigError as error:
            raise CoordinatorError(str(error), status=422) from error
        old = self.jobs.get(spec.name)
        if old is not None and not old.over:
            raise CoordinatorError(_taken(old.status()), status=409)
        self.jobs.pop(spec.name, None)
        job = Job(spec, self._around)
        self.jobs[spec.name] = job
        self._forget_old()
        early = self._early.pop(spec.name, None)
        if early is not None and early.hello.launch == spec.launch:
            agent_connected(job, early.hello, early.link)
        elif early is not None:
            early.link.send(StopAgent(0.0))  # left over from an earlier job of this name
        return job

    def find(self, name: str) -> Job | ArchivedJob:
        """The job called ``name``.

        Raises:
            CoordinatorError: 404: there is none.
        """
        job = self.jobs.get(name)
        if job is None:
            known = ", ".join(sorted(self.jobs)) or "none"
            raise CoordinatorError(f"there is no job named {name[:100]!r}; known jobs: {known}", status=404)
        return job

    def live(self, name: str) -> Job | None:
        """The job called ``name`` if it was created here; it may be over."""
        job = self.jobs.get(name)
        return job if isinstance(job, Job) else None

    # ------------------------------------------------------------ agents

    def agent_arrived(self, hello: AgentHello, link: Link) -> Job | None:
        """The job of an agent that said hello; None if it has to wait, or was told to stop.

        An agent without workers may be earlier than the request that creates its job: it is kept for a minute. One
        with workers belongs to a job that is over.

        Raises:
            ProtocolError: The job has another agent.
        """
        job = self.live(hello.job)
        if job is not None and not job.over and hello.launch != job.spec.launch:
            link.send(StopAgent(0.0))  # left over from an earlier job of this name
            return None
        if job is not None and (not job.over or job.agent.pid == hello.pid):
            agent_connected(job, hello, link)
            return job
        if hello.workers or hello.job in self._early:
            link.send(StopAgent(0.0))
        else:
            self._early[hello.job] = _EarlyAgent(hello, link, self.clock.monotonic())
        return None

    def agent_left(self, hello: AgentHello, link: Link) -> None:
        """The connection of an agent that had to wait has ended."""
        early = self._early.get(hello.job)
        if early is not None and early.link is link:
            del self._early[hello.job]

    # ------------------------------------------------------------ time

    def tick(self) -> None:
        """Called a few times a second."""
        now_s = self.clock.monotonic()
        for job in list(self.jobs.values()):
            if isinstance(job, Job):
                try:
                    tick(job)
                except Exception:
                    # One job's trouble is not that of the others.
                    _log.exception("job %s: tick failed", job.spec.name)
        for name, early in list(self._early.items()):
            if now_s - early.since_s > _EARLY_AGENT_S:
                early.link.send(StopAgent(0.0))
                del self._early[name]
        if self.open_sockets or any(not job.over for job in self.jobs.values()):
            self.touch()

    def touch(self) -> None:
        """Somebody has needed the coordinator just now."""
        self._used_s = self.clock.monotonic()

    def unused_s(self) -> float:
        """Seconds since the last call, open connection or live job."""
        return self.clock.monotonic() - self._used_s

    # ------------------------------------------------------------ inside

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _publish(self, event: Event) -> None:
        # Events come a second time when completed; only the first one counts, and it has the newest number.
        if event.seq == self._seq:
            self.event_counts[event.job, event.kind] += 1
        self.streams.publish(event)

    def _forget_old(self) -> None:
        over = [name for name, job in self.jobs.items() if job.over]
        for name in over[: max(0, len(over) - _KEPT_JOBS)]:
            del self.jobs[name]

    def _remember(self, kept: KeptJob) -> None:
        status = kept.status
        if kept.live or status is None:
            error = (
                f"the coordinator ended while this job was at step {kept.row.step}, and a job cannot be taken up "
                "again yet; run it again"
            )
            status = lost_status(kept, error=error)
            log = EventLog(
                kept.name,
                clock=self.clock,
                next_seq=self._next_seq,
                publish=lambda event: self._journal.put_event(kept.id, event),
            )
            log.record("job_failed", error, step=kept.row.step)
            self._journal.put_end(kept.id, status=status, report=None)
            _log.warning("job %s: %s", kept.name, error)
        self.jobs.pop(kept.name, None)
        self.jobs[kept.name] = ArchivedJob(kept.id, status, self._journal)
        self._forget_old()


def _taken(status: JobStatus) -> str:
    pids = ", ".join(str(worker.pid) for worker in status.workers if worker.pid is not None)
    of = f" of {status.total_steps}" if status.total_steps is not None else ""
    where = f"step {status.step}{of}" + (f", worker pids {pids}" if pids else "")
    return (
        f"a job named {status.name} is already running ({status.state}, {where}). Choose another name with --name, "
        f"wait for it, or stop it with `pliant stop {status.name}`"
    )
