"""The parameter servers of one job: their records, and the decisions about them carried out. No waiting, no sockets.

Without the strategy ``parameter-server`` there are none, and nothing here does anything. Like all of a job, a
deterministic function of its inputs (:mod:`pliant.control.job`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pliant.control.event_log import EventLog
from pliant.control.links import AgentRecord, ProcessRecord, ServerRecord, WorkerRecord
from pliant.control.memory_plan import MOST_IN_A_ROW
from pliant.control.progress import Progress
from pliant.control.server_changes import ServerChanges, slots_text
from pliant.errors import ConfigError, CoordinatorError
from pliant.ids import ServerId, WorkerId
from pliant.membership import slots_events as ev
from pliant.membership.events import Outcome
from pliant.membership.slots_state import JobSlots
from pliant.membership.target_plan import MAX_EARLY_DEATHS
from pliant.wire.agent_messages import StartWorker
from pliant.wire.api import JobSpec, ServerState, ServerStatus
from pliant.wire.messages import Retire
from pliant.wire.server_messages import PlaceSlots, ServerAddress


class ServersHost(Protocol):
    """What servers need of their job."""

    spec: JobSpec
    agent: AgentRecord
    workers: dict[WorkerId, WorkerRecord]
    log: EventLog
    progress: Progress

    @property
    def over(self) -> bool:
        """Whether the job has ended."""

    def event(self, kind: str, message: str) -> None:
        """Something happened, at the present step."""

    def now_s(self) -> float:
        """Monotonic seconds at which what is being handled came."""

    def follow_plan(self) -> None:
        """Do what the plan says next, if what came before has taken effect."""

    def lose_state(self, why: str) -> None:
        """What the job has done is lost, up to its last checkpoint."""

    def end(self, outcome: Outcome, reason: str) -> None:
        """The job is over."""


class Servers:
    """All parameter servers of a job."""

    def __init__(self, job: ServersHost) -> None:
        """Nothing is started before :meth:`begin`."""
        self._job = job
        self.records: dict[ServerId, ServerRecord] = {}
        spec = job.spec
        self.slots: JobSlots | None = None
        if spec.strategy == "parameter-server":
            low, high = spec.min_servers, spec.max_servers
            enough = max(low, min(high, spec.copies))  # so that each slot has all its copies from the start
            self.slots = JobSlots(start=enough, minimum=low, maximum=high, copies=spec.copies)
        self.changes = ServerChanges(job.log, job.progress)
        self._newest: PlaceSlots | None = None
        self._starved: list[tuple[ServerId, int]] = []

    # ------------------------------------------------------------ views

    @property
    def wanted(self) -> int:
        """How many there should be."""
        return 0 if self.slots is None else self.slots.wanted

    @property
    def at_rest(self) -> bool:
        """All that are wanted hold what they should, and nobody is on the way in or out."""
        struck = any((r.doomed or r.stricken) and not r.gone for r in self.records.values())
        return self.slots is None or (self.slots.settled and not struck)

    def serving(self) -> list[ServerRecord]:
        """Those that hold slots, oldest first."""
        return [self.records[server] for server in self.changes.serving if not self.records[server].gone]

    def statuses(self, *, ended: bool) -> list[ServerStatus]:
        """For the status. ``ended``: the job has, and they with it."""
        return [self._status(record, ended=ended) for record in self.records.values() if not record.gone]

    def _status(self, record: ServerRecord, *, ended: bool) -> ServerStatus:
        primary, copy, filling = (0, 0, 0) if self.slots is None else self.slots.held(record.server)
        leaving = record.retired or (self.slots is not None and self.slots.is_leaving(record.server))
        alive: ServerState
        alive = "leaving" if leaving else "filling" if filling else "serving" if primary or copy else "starting"
        progress = record.progress
        return ServerStatus(
            server=record.name,
            pid=record.pid,
            state="ended" if ended else alive,
            filling=filling,
            primary=primary,
            copy=copy,
            size_bytes=0 if progress is None else progress.size_bytes,
            rows=0 if progress is None else progress.rows,
            updates=0 if progress is None else progress.updates,
            dropped=0 if progress is None else progress.dropped,
            limit_bytes=self._job.spec.server_memory_bytes,
        )

    # ------------------------------------------------------------ what happens

    def begin(self) -> None:
        """Start the first ones."""
        if self.slots is not None:
            self._carry_out(self.slots.begin())

    def handle(self, event: ev.SlotsEvent) -> None:
        """Let the decider know, and carry out what it decides.

        Raises:
            ConfigError: A wanted number is out of bounds. Nothing changed.
        """
        if self.slots is not None and not self._job.over:
            self._carry_out(self.slots.handle(event))
            self._job.follow_plan()

    def job_begun(self) -> None:
        """A worker holds the job's state."""
        if self.slots is not None and not self.slots.begun:
            self.handle(ev.JobBegun())

    def committed(self) -> None:
        """Workers have committed steps."""
        self.job_begun()
        self.changes.committed()

    def scale(self, servers: int, *, by: str) -> None:
        """Change the wanted number.

        Raises:
            CoordinatorError: 422: out of bounds, or no server is needed. Nothing changed.
        """
        name, low, high = self._job.spec.name, self._job.spec.min_servers, self._job.spec.max_servers
        if self.slots is None:
            raise CoordinatorError(
                f"job {name} has no servers: they are for jobs with --strategy parameter-server", status=422
            )
        if not low <= servers <= high:
            fix = f"choose a number from {low} to {high}, or start the job with other --servers MIN:MAX"
            raise CoordinatorError(f"cannot scale job {name} to {servers} servers: {fix}", status=422)
        self._job.event("scale_requested", f"{servers} servers are wanted {by}; so far {self.slots.wanted}")
        try:
            self.handle(ev.WantedChanged(servers))
        except ConfigError as error:
            raise CoordinatorError(str(error), status=422) from error

    def exited(self, record: ServerRecord, how: str) -> None:
        """A server's process is gone, or counts as gone."""
        if record.gone:
            return
        record.gone = True
        if self._job.over or self.slots is None:
            return
        if not record.retired:
            self.changes.lost(record.server, how, places=self.slots.places, now_s=self._job.now_s())
        halted = self.slots.starting_halted
        self.handle(ev.ServerGone(record.server))
        if self.slots.starting_halted and not halted and not self._job.over:
            self._job.event(
                "servers_given_up",
                f"no more servers are started, as the last {MAX_EARLY_DEATHS} ended before they held anything (the end "
                f"of {record.name}.log says why); the job goes on with those that are there, and `pliant scale "
                f"{self._job.spec.name} --servers N` tries again",
            )

    def expel(self, record: ServerRecord, why: str) -> None:
        """A server that hangs counts as lost; should it wake up, it is to leave."""
        if record.gone:
            return
        record.expelled = True
        self._job.event("server_silent", f"{record.name} is {why}; it is expelled")
        record.send(Retire(f"expelled: {why}"))
        self.exited(record, f"expelled ({why})")

    def ran_out_of_memory(self, record: ServerRecord) -> None:
        """The kernel has killed a server, whose end has been noted already, for lack of memory."""
        step = self._job.progress.step
        if self._starved and self._starved[-1][1] != step:
            self._starved.clear()
        self._starved.append((record.server, step))
        if len(self._starved) >= MOST_IN_A_ROW and not self._job.over:
            names = ", ".join(server for server, _ in self._starved)
            self._job.end(
                "failed-memory",
                f"the kernel has killed the servers {names} in a row for lack of memory, all at step {step}: it would "
                "do so again and again. Give the machine or the control group more memory, or keep fewer copies "
                "(--copies 1)",
            )

    def begin_again(self) -> None:
        """The job's state is lost: these servers go, others are started with :meth:`go_on`."""
        if self.slots is not None and not self.slots.waiting:
            self._carry_out(self.slots.handle(ev.StateLost()))
        self._forget()

    def go_on(self) -> None:
        """There is something to begin again from."""
        if self.slots is not None and self.slots.waiting:
            self.handle(ev.StateFound())

    # ------------------------------------------------------------ telling

    def tell(self, record: ProcessRecord) -> None:
        """The newest placement, to a worker or server that has just connected."""
        if self._newest is not None:
            record.send(self._newest)

    def retire_all(self, reason: str) -> None:
        """The job is over."""
        for record in self.records.values():
            if not record.gone:
                record.send(Retire(reason))

    # ------------------------------------------------------------ inside

    def _carry_out(self, decisions: Sequence[ev.SlotsDecision]) -> None:
        for decision in decisions:
            if self._job.over:
                return
            self._do(decision)

    def _do(self, decision: ev.SlotsDecision) -> None:
        match decision:
            case ev.StartServer(server):
                self.records[server] = ServerRecord(name=server)
                self._job.agent.send(StartWorker(server, "server"))
            case ev.PlacementDecided():
                self._place(decision)
            case ev.RetireServer(server, reason):
                record = self.records.get(server)
                if record is not None and not record.retired:
                    record.retired, record.farewell = True, reason
                    record.send(Retire(reason))
                    if self.slots is not None and not self.slots.waiting:
                        self.changes.left(server)
            case ev.SlotsLost(slots, servers):
                self._forget()
                names = " and ".join(servers)
                self._job.lose_state(f"nobody is left who holds {slots_text(slots)}: {names} did")
            case ev.GiveUp(reason):
                self._job.end("failed-lost", reason)

    def _place(self, decision: ev.PlacementDecided) -> None:
        assert self.slots is not None
        named = {name for place in decision.places for name in (*place.holders, *place.filling)}
        addresses = [ServerAddress(r.name, r.endpoint) for r in self.records.values() if r.name in named]
        self._newest = PlaceSlots(decision.version, list(decision.places), addresses)
        now_s = self._job.now_s()
        self.changes.placed(decision.places, thin=self.slots.thin, copies=self.slots.copies, now_s=now_s)
        peers: list[ProcessRecord] = [*self.records.values(), *self._job.workers.values()]
        for record in peers:
            # Those that are away get the newest one when they come back, and need no older one.
            if not record.gone and record.link is not None:
                record.send(self._newest)

    def _forget(self) -> None:
        self._newest = None
        self.changes.begin_again(now_s=self._job.now_s())
