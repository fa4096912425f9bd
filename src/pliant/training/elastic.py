"""The crew of an elastic job: groups on one side, the coordinator on the other."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from pliant.comm.base import Group
from pliant.comm.handshake import job_key
from pliant.comm.isolation import cut_off
from pliant.comm.listener import MeshListener
from pliant.comm.mesh import MeshGroup
from pliant.comm.post.post import PostOptions, ZmqPost
from pliant.config import Home, WorkerSpec
from pliant.errors import GenerationOverError, UsageError
from pliant.parallel.pass_messages import Flags
from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.conversation import Beginner
from pliant.parallel.servers.letters import AnyLetter
from pliant.timeouts import DEFAULT_PATIENCE_S
from pliant.training.groups import LOOK_S, Groups
from pliant.training.loose_groups import LooseGroups
from pliant.training.session import JobStopped
from pliant.wire.address import workers_url
from pliant.wire.messages import (
    CallEnded,
    CoordinatorToWorker,
    FormGeneration,
    GenerationKind,
    Interrupt,
    JobRules,
    MilestonePassed,
    MilestoneReached,
    Misbehave,
    PublishWeights,
    RehearsalFailed,
    Retire,
    StillHere,
    StopJob,
    WeightsOrder,
    Welcome,
    WorkerHello,
    WorkerLeaving,
    WorkerReady,
)
from pliant.wire.server_messages import PlaceSlots
from pliant.wire.socket import ControlSocket

NEW_WAIT_S = 5 * LOOK_S
"""Who waits asks about the coordinator every second: a longer pause means that another wait has begun."""


class ElasticCrew:
    """A :class:`pliant.training.crew.Crew`. Commands arrive on the control socket's thread."""

    def __init__(self, spec: WorkerSpec, *, pid: int, token: str) -> None:
        self.worker, self.threads = spec.worker, spec.threads
        self.slow = 1.0
        self.job: Any = None
        self.retired: str | None = None
        self.rehearsing = False
        self.orders: list[WeightsOrder] = []
        self._spec, self._pid = spec, pid
        self._changed = threading.Condition()
        self._welcome: Welcome | None = None
        self._passed: set[int] = set()
        self._again: set[int] = set()
        self._calls: dict[int, tuple[str, Any]] = {}
        self._stop = self._isolated = False
        self._looked_s = self._alone_since_s = time.monotonic()
        self._key = job_key(token, spec.job)
        self._placement: PlaceSlots | None = None
        self._post: ZmqPost[AnyLetter] | None = None
        self._client: ServersClient | None = None
        self._listener = MeshListener(job=spec.job, worker=spec.worker, key=self._key, host=spec.host)
        self.loose: LooseGroups | None = None
        self.groups = Groups(self._listener, patience_s=DEFAULT_PATIENCE_S, send=self.tell, check=self._check_alive)
        find_url = workers_url(Home(Path(spec.home)))
        self._socket: ControlSocket[CoordinatorToWorker] = ControlSocket(
            lambda: None if self._isolated else find_url(), token, self._hello, self._on_message
        )
        self._socket.beat = StillHere
        self._socket.start()

    # ------------------------------------------------------------ main thread

    @property
    def stateful(self) -> bool:
        """This worker holds the job's state."""
        return self.groups.stateful

    @property
    def generation(self) -> int:
        """The generation in use."""
        return self.groups.generation

    @property
    def stopping(self) -> bool:
        """The job is to stop."""
        return self._stop

    @property
    def founding(self) -> bool:
        """The job has not begun."""
        return self._welcomed().founding

    @property
    def deals_by_speed(self) -> bool:
        """As the job was started."""
        return self._welcomed().rules.deal == "speed"

    @property
    def job_name(self) -> str:
        """As the user calls it."""
        return self._spec.job

    @property
    def rules(self) -> JobRules:
        """How the job was started."""
        return self._welcomed().rules

    @property
    def workers(self) -> list[str]:
        """Members of the generation in use, by rank."""
        return [member.worker for member in self.groups.members]

    @property
    def restore(self) -> str:
        """The checkpoint that the job begins from, for founders; empty: from the script's own state."""
        return self._welcomed().restore

    @property
    def milestones(self) -> frozenset[int]:
        """Steps before which the plan has something to do and has not done it yet."""
        return frozenset(self._welcomed().milestones).union(self._again) - self._passed

    def register(self, job: Any) -> None:
        """The script has made its job; one per worker."""
        if self.job is not None:
            raise UsageError("pliant.join was called twice: one job per script; track all objects in one call")
        self.job = job

    def group(self) -> Group:
        """The current group."""
        group = self.groups.usable()
        if group is None:
            raise GenerationOverError("the current generation was interrupted")
        return group

    def flags(self, *, more: list[int], samples: int, pace: float) -> Flags:
        """What to tell the others with this pass."""
        return Flags(prepared=self.groups.prepared(), stop=self._stop, more=more, samples=samples, pace=pace)

    def switch(self, generation: int) -> MeshGroup | None:
        """Move to an agreed planned generation; None: this worker leaves."""
        return self.groups.switch(generation)

    def await_next(self) -> tuple[MeshGroup, GenerationKind]:
        """Wait for the next generation and move to it."""
        return self.groups.await_next()

    def enter(self, group: Group) -> None:
        """The first exchange is complete."""
        self.groups.enter(group)

    def broke(self, group: Group, error: Exception) -> None:
        """A peer was lost."""
        self.groups.broke(group, error)

    def ready(self, shape: WorkerReady) -> None:
        """This worker can be admitted."""
        self.tell(shape)

    def rehearses(self) -> bool:
        """A newcomer to a job that has begun does, unless that has failed in this job before."""
        welcome = self._welcomed()
        self.rehearsing = welcome.rehearse and not welcome.founding
        return self.rehearsing

    def rehearsed(self) -> None:
        """The throw-away step has come to its end."""
        self.rehearsing = False

    def leave_rehearsal(self, reason: str) -> None:
        """Say so and end the process: the script's own variables are those of a step that never was."""
        self.tell(RehearsalFailed(reason=reason))
        self._socket.close()
        os._exit(0)

    def ended_calls(self) -> list[tuple[str, Any]]:
        """Kind and result of the calls that have ended, as far as known; without gaps."""
        self._welcomed()
        with self._changed:
            found: list[tuple[str, Any]] = []
            while len(found) in self._calls:
                found.append(self._calls[len(found)])
            return found

    def last_known(self) -> tuple[int, int, float | None]:
        """(step, epoch, loss) of the job when this worker connected."""
        welcome = self._welcomed()
        return welcome.step, welcome.epoch, welcome.loss

    def tell(self, message: object) -> None:
        """Send something to the coordinator; never blocks."""
        self._socket.send(message)

    def milestone(self, step: int) -> None:
        """Wait until the plan's events before ``step`` have been started, ``rules.milestone_wait_s`` at most."""
        self.tell(MilestoneReached(step=step))
        with self._changed:
            wait_s = max(self.rules.milestone_wait_s, self.groups.timeouts.milestone_s)
            self._changed.wait_for(lambda: step in self._passed, wait_s)
            self._passed.add(step)

    def leave(self, reason: str) -> None:
        """Ask to be left out of the next generation (SIGTERM)."""
        self.tell(WorkerLeaving(reason=reason))

    def await_dismissal(self) -> None:
        """After the end of the script: wait, not for long, until the coordinator knows of it."""
        with self._changed:
            self._changed.wait_for(lambda: self.retired is not None, self.groups.timeouts.dismissal_s)

    def check_end(self) -> None:
        """Raise JobStopped if this worker's part in the job is over."""
        self.groups.check()

    def servers(self, begin: Beginner, *, check: Callable[[], None]) -> ServersClient:
        """The way to the parameter servers; made once."""
        timeouts = self.groups.timeouts
        options = PostOptions(self._key, timeouts=timeouts)
        self._post = ZmqPost(self.worker, decoder=msgspec.msgpack.Decoder(AnyLetter), options=options)
        client = ServersClient(self._post, begin=begin, check=check, again_s=timeouts.patience_s)
        with self._changed:
            self._client = client
            if self._placement is not None:
                client.placed(self._placement)
        return client

    def close(self) -> None:
        """Deliver what is queued, then close everything."""
        if self._client is not None:
            self._client.close()
        if self._post is not None:
            self._post.close()
        self._socket.close()
        self.groups.close()
        self._listener.close()

    # ------------------------------------------------------------ control thread

    def _hello(self) -> WorkerHello:
        return WorkerHello(
            job=self._spec.job,
            worker=self.worker,
            pid=self._pid,
            host=self._listener.host,
            port=self._listener.port,
            generation=self.groups.generation,
            stateful=self.groups.stateful,
            launch=self._spec.launch,
        )

    def _on_message(self, message: CoordinatorToWorker) -> None:
        match message:
            case Welcome():
                self._on_welcome(message)
            case CallEnded():
                self._keep_call(message)
            case FormGeneration():
                self.groups.on_form(message)
            case Interrupt():
                self.groups.on_interrupt(message.generation)
            case MilestonePassed():
                with self._changed:
                    self._passed.add(message.step)
                    if message.again:
                        self._again.add(message.step + 1)
                    self._changed.notify_all()
            case Misbehave():
                self._misbehave(message)
            case PlaceSlots():
                self._placed(message)
            case PublishWeights():
                self.orders = message.orders
            case StopJob():
                self._stop = True
            case Retire():
                with self._changed:
                    self.retired = message.reason
                    self._changed.notify_all()
                self.groups.end(JobStopped(message.reason))

    def _placed(self, placement: PlaceSlots) -> None:
        with self._changed:
            self._placement = placement
            client = self._client
        if client is not None:
            client.placed(placement)

    def _misbehave(self, fault: Misbehave) -> None:
        if fault.slow is not None:
            self.slow = fault.slow
        if fault.isolated:
            self._isolated = True
            if self._post is not None:
                self._post.isolate()
            cut_off()

    def _on_welcome(self, welcome: Welcome) -> None:
        for call in welcome.calls:
            self._keep_call(call)
        self.groups.set_patience(welcome.patience_s)
        self._socket.set_patience(welcome.patience_s)
        if self._welcome is None and welcome.rules.staleness is not None:
            self.loose = LooseGroups(
                self._listener, patience_s=welcome.patience_s, send=self.tell, check=self._check_alive
            )
            self.loose.on_members = self._members_changed
            self.groups = self.loose
        with self._changed:
            if self._welcome is None:  # on a reconnect the first answer stays in force
                self._welcome = welcome
            self._changed.notify_all()

    def _members_changed(self) -> None:
        with self._changed:
            client = self._client
        if client is not None:
            client.ask_again()

    def _keep_call(self, call: CallEnded) -> None:
        with self._changed:
            self._calls[call.call] = (call.kind, msgspec.json.decode(call.result))

    def _check_alive(self) -> None:
        """While waiting for the coordinator's word: end rather than be an orphan for ever.

        Only the time of this wait counts: how long the coordinator was away before it was needed means nothing.
        """
        now_s = time.monotonic()
        if self._socket.connected or now_s - self._looked_s > NEW_WAIT_S:
            self._alone_since_s = now_s
        self._looked_s = now_s
        alone_s = now_s - self._alone_since_s
        if alone_s > self.groups.timeouts.orphan_s:
            raise JobStopped(f"no coordinator for {alone_s:.0f} s, and no way to go on without it")

    def _welcomed(self) -> Welcome:
        with self._changed:
            while self._welcome is None:
                if self.retired is not None:
                    raise JobStopped(self.retired)
                self._changed.wait(LOOK_S)
                self._check_alive()
            return self._welcome
