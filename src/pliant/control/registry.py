"""All jobs of a coordinator, by name; agents that came before their job; and whether anybody needs the coordinator."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pliant.control.agent_keeper import AgentKeeper
from pliant.control.archive import ArchivedJob, lost_status
from pliant.control.chooser import Chooser
from pliant.control.clock import Clock
from pliant.control.event_log import EventLog
from pliant.control.inputs import (
    REPLAY_VERSION,
    AgentConnected,
    Entry,
    FaultAsked,
    Input,
    JobCreated,
    JobTakenUp,
    ScaleAsked,
    ScaleServersAsked,
    StopAsked,
)
from pliant.control.intake import Intake
from pliant.control.job import Job
from pliant.control.journal import Journal, KeptJob
from pliant.control.links import Link, ProcessRecord
from pliant.control.replay import replay
from pliant.control.spec_plan import check_spec
from pliant.control.streams import Streams
from pliant.control.surroundings import Surroundings
from pliant.control.timers import Silence, due
from pliant.errors import ConfigError, CoordinatorError
from pliant.wire.agent_messages import AgentHello, StopAgent
from pliant.wire.api import Event, JobSpec, JobStatus, MisbehaveRequest, Report

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

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        home: Path | None = None,
        keeper: AgentKeeper | None = None,
        die: Callable[[], None] = lambda: None,
    ) -> None:
        """Takes up the live jobs of ``journal`` where they were.

        Args:
            journal: of this home directory.
            clock: real time if None.
            home: where jobs leave files; None: nowhere.
            keeper: who starts another agent in place of one that died; None: nobody.
            die: ends this process at once, as a plan wants it.
        """
        self.clock = clock or Clock()
        self.streams = Streams()
        self.jobs: dict[str, Job | ArchivedJob] = {}
        self.event_counts: Counter[tuple[str, str]] = Counter()
        self.refused_messages = 0
        self.open_sockets = 0
        self._journal = journal
        self._intake = Intake(journal, self.clock)
        self._chooser = Chooser()
        self._keeper = keeper
        self._kill_me = die
        self._seq = journal.last_seq()
        self._early: dict[str, _EarlyAgent] = {}
        self._silence: dict[str, Silence] = {}
        self._used_s = self.clock.monotonic()
        self._around = Surroundings(
            self._keep_event, self._next_seq, self._keep_end, home, self._die, self._chooser.begin
        )
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
        job = self._begin(spec)
        self.jobs[spec.name] = job
        self._forget_old()
        early = self._early.pop(spec.name, None)
        if early is not None and early.hello.launch == spec.launch:
            self.take(job, AgentConnected(early.hello), link=early.link)
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

    def take(self, job: Job, item: Input, *, link: Link | None = None) -> ProcessRecord | None:
        """Something happens to ``job``: see :mod:`pliant.control.intake`."""
        return self._intake.take(job, item, seq=self._seq, link=link)

    def scale(self, name: str, workers: int | None = None, *, servers: int | None = None) -> Job | ArchivedJob:
        """Another number of wanted workers, or of parameter servers.

        Raises:
            CoordinatorError: 404, 409, 422. Nothing changed, unless both were given: the workers then, perhaps.
        """
        job = self.find(name)
        if workers is None and servers is None:
            raise CoordinatorError("nothing to do: give a number of workers, of servers, or both", status=422)
        if not isinstance(job, Job):
            job.scale(workers, servers)
            return job
        if workers is not None:
            self.take(job, ScaleAsked(workers))
        if servers is not None:
            self.take(job, ScaleServersAsked(servers))
        return job

    def stop(self, name: str, *, now: bool) -> Job | ArchivedJob:
        """Stop a job, if it is not over.

        Raises:
            CoordinatorError: 404.
        """
        job = self.find(name)
        if isinstance(job, Job):
            self.take(job, StopAsked(now))
        return job

    def misbehave(self, name: str, asked: MisbehaveRequest) -> Job | ArchivedJob:
        """A fault on purpose.

        Raises:
            CoordinatorError: 404, 409, 422. Nothing changed.
        """
        job = self.find(name)
        if not isinstance(job, Job):
            raise CoordinatorError(f"job {name} is over: no worker is left to misbehave", status=409)
        self.take(job, FaultAsked(asked))
        return job

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
            self.take(job, AgentConnected(hello), link=link)
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
        self._take_checkpoints()
        for job in list(self.jobs.values()):
            if isinstance(job, Job):
                try:
                    self._tick_job(job, now_s)
                except Exception:
                    # One job's trouble is not that of the others.
                    _log.exception("job %s: tick failed", job.spec.name)
        for name, early in list(self._early.items()):
            if now_s - early.since_s > _EARLY_AGENT_S:
                early.link.send(StopAgent(0.0))
                del self._early[name]
        self._journal.retry()
        if self._keeper is not None:
            self._keeper.collect()
        if self.open_sockets or any(not job.over for job in self.jobs.values()):
            self.touch()

    def _tick_job(self, job: Job, now_s: float) -> None:
        for timer in due(job, now_s):
            self.take(job, timer)
        if job.over:
            self._silence.pop(job.id, None)
        else:
            for timer in self._silence.setdefault(job.id, Silence(job)).due(now_s):
                self.take(job, timer)
        news = self._keeper.look(job, now_s) if self._keeper is not None and not job.over else None
        if news is not None:
            self.take(job, news)

    def _take_checkpoints(self) -> None:
        by_id = {job.id: job for job in self.jobs.values() if isinstance(job, Job)}
        for job_id, chosen in self._chooser.finished():
            if job_id in by_id:
                self.take(by_id[job_id], chosen)

    def touch(self) -> None:
        """Somebody has needed the coordinator just now."""
        self._used_s = self.clock.monotonic()

    def unused_s(self) -> float:
        """Seconds since the last call, open connection or live job."""
        return self.clock.monotonic() - self._used_s

    # ------------------------------------------------------------ inside

    def _begin(self, spec: JobSpec) -> Job:
        job_id, moment = secrets.token_hex(8), self._intake.moment(self._seq)
        self._journal.put_job(job_id, spec)
        self._journal.record(job_id, Entry(moment, JobCreated()))
        job = Job(job_id, spec, self._around, moment=moment)
        job.go_live(self._around)
        return job

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _keep_event(self, job_id: str, event: Event) -> None:
        # Events come a second time when completed; only the first one counts, and it has the newest number.
        if event.seq == self._seq:
            self.event_counts[event.job, event.kind] += 1
        first_line = event.message.splitlines()[0]
        _log.info("job %s: step %d: %s: %s", event.job, event.step, event.kind, first_line)
        self._journal.put_event(job_id, event)
        self.streams.publish(event)

    def _keep_end(self, job_id: str, status: JobStatus, report: Report) -> None:
        self._journal.put_end(job_id, status=status, report=report)
        _log.info("job %s is over: %s", status.name, status.state)

    def _die(self) -> None:
        self._journal.flush()
        self._kill_me()

    def _forget_old(self) -> None:
        over = [name for name, job in self.jobs.items() if job.over]
        for name in over[: max(0, len(over) - _KEPT_JOBS)]:
            del self.jobs[name]

    def _remember(self, kept: KeptJob) -> None:
        self.jobs.pop(kept.name, None)
        if kept.live or kept.status is None:
            self.jobs[kept.name] = self._take_up(kept) or self._lost(kept)
        else:
            self.jobs[kept.name] = ArchivedJob(kept.id, kept.status, self._journal)
        self._forget_old()

    def _take_up(self, kept: KeptJob) -> Job | None:
        """The job as its coordinator left it; None if that cannot be known."""
        if kept.version != REPLAY_VERSION:
            return None
        try:
            job = replay(kept.id, kept.spec, self._journal.entries(kept.id))
        except Exception:
            # Whatever it is, the other jobs can still be taken up.
            _log.exception("job %s: replaying its journal failed", kept.name)
            return None
        if job is None:
            return None
        self._seq = max(self._seq, *(event.seq for event in job.events()))
        self.event_counts.update((event.job, event.kind) for event in job.events())
        away_s = max(0.0, self.clock.monotonic() - job.now_s())  # the machine may have been started anew
        job.go_live(self._around)
        if job.ending is not None:  # its coordinator died before it could note the end
            self._keep_end(job.id, job.ending.status, job.ending.report)
        else:
            self.take(job, JobTakenUp(away_s))
        return job

    def _lost(self, kept: KeptJob) -> ArchivedJob:
        error = (
            f"the coordinator ended while this job ran, and its journal (version {kept.version}) cannot be replayed by "
            f"this one (version {REPLAY_VERSION}; its log may say more); run the job again"
        )
        log = EventLog(
            kept.name,
            now_s=self.clock.unix,
            next_seq=self._next_seq,
            publish=lambda event: self._journal.put_event(kept.id, event),
        )
        log.record("job_failed", error, step=0)
        status = lost_status(kept, error=error)
        self._journal.put_end(kept.id, status=status, report=None)
        _log.warning("job %s: %s", kept.name, error)
        return ArchivedJob(kept.id, status, self._journal)


def _taken(status: JobStatus) -> str:
    pids = ", ".join(str(worker.pid) for worker in status.workers if worker.pid is not None)
    of = f" of {status.total_steps}" if status.total_steps is not None else ""
    where = f"step {status.step}{of}" + (f", worker pids {pids}" if pids else "")
    return (
        f"a job named {status.name} is already running ({status.state}, {where}). Choose another name with --name, "
        f"wait for it, or stop it with `pliant stop {status.name}`"
    )
