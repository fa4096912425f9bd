"""What is known of one job in the coordinator, and how it is shown. What happens to it: :mod:`pliant.control.job`."""

from __future__ import annotations

from pliant.control.changes import Changes
from pliant.control.checkpoints import Checkpoints
from pliant.control.ending import End, Ending
from pliant.control.event_log import EventLog
from pliant.control.inputs import Moment
from pliant.control.links import AgentRecord, ProcessRecord, WorkerRecord
from pliant.control.memory_plan import MemoryPlan
from pliant.control.progress import Progress
from pliant.control.publications import Publications
from pliant.control.report_plan import JobView, job_report, job_status
from pliant.control.scalars import Scalars
from pliant.control.schedule_plan import Schedule
from pliant.control.servers import Servers
from pliant.control.surroundings import Surroundings
from pliant.ids import ServerId, WorkerId
from pliant.membership.state import JobMembership
from pliant.wire.api import Event, JobSpec, JobState, JobStatus, Report, WorkerStatus
from pliant.wire.messages import CallEnded, WorkerReady


class JobRecords:
    """Base of :class:`~pliant.control.job.Job`: its state, and the views of it."""

    servers: Servers

    def __init__(self, job: str, spec: JobSpec, around: Surroundings, *, moment: Moment) -> None:
        """A job that waits for its agent.

        Args:
            job: its id in the journal.
            spec: has passed :func:`~pliant.control.spec_plan.check_spec`.
            around: what it may touch.
            moment: of its creation. Whoever hands over an input sets :attr:`moment` first.
        """
        self.id = job
        self.spec = spec
        self.around = around
        self.moment = self.created = moment
        self.workers: dict[WorkerId, WorkerRecord] = {}
        self.agent = AgentRecord()
        self.progress = Progress()
        self.ending: Ending | None = None
        self.recipe: WorkerReady | None = None
        """Of the first call that anybody stood at."""
        self.recipes: dict[int, WorkerReady] = {}
        """By call: all workers must have the same."""
        self.rehearse = True
        self.at_milestone: tuple[WorkerId, int] | None = None
        """Who waits before which step for the plan's events to be started."""
        self.calls: dict[int, CallEnded] = {}
        self.schedule = Schedule(spec.plan)
        self.script_error: str | None = None
        self._scalars: Scalars | None = None
        self._stopping = False
        self._memory = MemoryPlan()
        self._leavers: dict[WorkerId, float] = {}
        self.log = EventLog(
            spec.name,
            now_s=lambda: self.moment.unix_s,
            next_seq=lambda: self.around.next_seq(),  # noqa: PLW0108 - ``around`` changes when the job goes live
            publish=lambda event: self.around.keep_event(self.id, event),
        )
        self.changes = Changes(self.log, self.progress)
        self.checkpoints = Checkpoints(spec, self.log, self.progress, self.changes)
        self.publications = Publications()
        self.membership = JobMembership(start=spec.start_workers, minimum=spec.min_workers, resume=spec.resume)

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.ending is not None

    @property
    def state(self) -> JobState:
        """For the status."""
        if self.ending is not None:
            return self.ending.status.state
        if self._stopping:
            return "stopping"
        return "starting" if self.changes.current is None else "running"

    def status(self) -> JobStatus:
        """How it stands; the final word once it is over."""
        return self.ending.status if self.ending is not None else job_status(self._view())

    def report(self) -> Report:
        """What happened so far; the final word once it is over."""
        return self.ending.report if self.ending is not None else self._report()

    def events(self, *, after: int = 0) -> list[Event]:
        """Events with a larger ``seq``."""
        return self.log.after(after)

    def process(self, name: str) -> ProcessRecord | None:
        """The worker or server of this name, whatever has become of it; None if there never was one."""
        return self.workers.get(WorkerId(name)) or self.servers.records.get(ServerId(name))

    def processes(self) -> list[ProcessRecord]:
        """All workers and servers that the job ever had."""
        return [*self.workers.values(), *self.servers.records.values()]

    def event(self, kind: str, message: str, *, before: int | None = None, after: int | None = None) -> None:
        """Something happened, at the present step."""
        self.log.record(kind, message, step=self.progress.step, before=before, after=after)

    def now_s(self) -> float:
        """Monotonic seconds at which what is being handled came."""
        return self.moment.time_s

    def _view(self, end: End | None = None) -> JobView:
        return JobView(
            spec=self.spec,
            state=self.state if end is None else end.state,
            progress=self.progress,
            recipe=self.recipe,
            generation=0 if self.changes.current is None else self.changes.current.number,
            target=self.membership.target,
            started_s=self.created.unix_s,
            workers=[self._worker_status(record) for record in self.workers.values() if not record.gone],
            servers=self.servers.statuses(ended=end is not None),
            target_servers=self.servers.wanted,
            error=None if end is None else end.error,
            failure=None if end is None else end.failure,
            weights_sha256=None if end is None else end.weights_sha256,
            final_loss=None if end is None else end.final_loss,
        )

    def _worker_status(self, record: WorkerRecord) -> WorkerStatus:
        current = self.changes.current
        progress = record.progress
        return WorkerStatus(
            worker=record.worker,
            pid=record.pid,
            rank=None if current is None else current.ranks.get(record.worker),
            state=record.state,
            shards=progress.shards if progress else [],
            step=record.finished.steps if record.finished else progress.step if progress else 0,
        )

    def _report(self, view: JobView | None = None) -> Report:
        return job_report(
            view or self._view(),
            events=self.events(),
            workers_over_time=self.changes.workers_over_time,
            servers_over_time=self.servers.changes.over_time,
        )
