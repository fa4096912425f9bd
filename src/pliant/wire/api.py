"""What the HTTP API takes and returns. One place for the command line, the coordinator and its OpenAPI text."""

from __future__ import annotations

from typing import Literal

import msgspec

JobState = Literal["starting", "running", "stopping", "finished", "stopped", "failed"]
Strategy = Literal["all-reduce", "parameter-server"]
FailureKind = Literal["script", "lost", "config", "diverged", "memory"]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all bodies; unknown fields are refused."""


class SlowWorkers(Body, frozen=True):
    """``slow`` of a plan: so many workers take ``factor`` times as long for each shard from then on."""

    workers: int
    factor: float


class PlanEvent(Body, frozen=True):
    """One thing that happens once ``at_step`` steps are committed. Exactly one of the others is set."""

    at_step: int
    scale: int | None = None
    kill: int | None = None
    leave: int | None = None
    stop: int | None = None
    """SIGSTOP to so many workers."""
    kill_coordinator: bool | None = None
    slow: SlowWorkers | None = None
    partition: int | None = None
    """So many workers lose all their connections without a word."""
    scale_servers: int | None = None
    kill_server: int | None = None
    """SIGKILL to so many parameter servers."""
    stop_server: int | None = None
    """SIGSTOP to so many parameter servers."""


class JobSpec(Body, frozen=True):
    """``POST /v1/jobs``."""

    name: str
    script: str
    args: list[str] = []
    min_workers: int = 1
    max_workers: int = 1
    start_workers: int = 1
    plan: list[PlanEvent] = []
    patience_s: float = 10.0
    launch: str = ""
    """Chosen at random by whoever starts the job: its agent and workers name it too, so that those left over from
    an earlier job of the same name are not taken for this one's."""
    threads: int = 1
    """Intra-op threads of each worker; part of the recipe."""
    checkpoints: str = ""
    """Directory for checkpoints; empty: none are written."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0: only when the job is stopped."""
    keep: int = 3
    """How many checkpoints are kept, the newest ones."""
    resume: bool = False
    """Begin from the newest good checkpoint in ``checkpoints``."""
    check_every: int = 50
    """Steps between comparisons of the workers' state; 0: never."""
    trace: str = ""
    """Directory for what ``pliant verify`` compares; empty: nothing is recorded."""
    stop_after: int = 0
    """End the script after so many steps; 0: at its own end."""
    deal: Literal["speed", "even"] = "speed"
    """Deal shards by the workers' measured speed, or evenly. Changes no bit of the result."""
    patient_plan: bool = False
    """The main worker waits at a plan's event until newcomers are ready, so that a short run sees them all."""
    strategy: Strategy = "all-reduce"
    """Where gradients are summed and updates applied. Changes no bit of the result."""
    min_servers: int = 1
    """With the strategy ``parameter-server``: it begins with so many."""
    max_servers: int = 4
    copies: int = 2
    """How many servers hold each slot, as far as there are so many."""
    staleness: int | None = None
    """With parameter servers: null is synchronous. Else workers do not wait for each other, and each shard is an update
    of its own: a worker may be so many steps ahead of the slowest; ``UNBOUNDED`` as many as it likes.
    """
    server_memory_bytes: int | None = None
    """With parameter servers: what each may hold of parameters, optimizer state and rows; new rows beyond it are
    refused. Null: no limit.
    """


class ScaleRequest(Body, frozen=True):
    """``POST /v1/jobs/NAME/scale``. What is null stays as it is."""

    workers: int | None = None
    servers: int | None = None


class StopRequest(Body, frozen=True):
    """``POST /v1/jobs/NAME/stop``. ``now``: kill the workers instead of stopping at a boundary."""

    now: bool = False


class MisbehaveRequest(Body, frozen=True):
    """``POST /v1/jobs/NAME/misbehave``: a fault on purpose, for tests. What is null stays as it is."""

    worker: str
    """Or a parameter server."""
    slow: float | None = None
    """Take so many times as long for each shard; 1 ends it."""
    isolated: bool | None = None
    """Move no byte over any connection."""


class WeightsRequest(Body, frozen=True):
    """``POST /v1/jobs/NAME/weights``: the weights of a running job, from a worker's memory.

    The answer comes when they are written: before the first step from ``after`` on that ``every`` divides, or at the
    end of the script.
    """

    directory: str
    """Where they are written to: on the workers' machine, and there already. One request at a time for each."""
    every: int = 1
    after: int = 0
    wait_s: float = 20.0
    """Answer without weights after so long, at most a minute."""


class Weights(Body, frozen=True):
    """Complete ones, in a checkpoint's format (only the modules); an empty ``path``: none came in time."""

    step: int = 0
    path: str = ""
    size_bytes: int = 0
    seconds: float = 0.0
    """From the copy in the worker to the rename."""


class WorkerStatus(Body, frozen=True):
    """One worker of a job."""

    worker: str
    pid: int | None
    rank: int | None
    state: str
    shards: list[int]
    step: int


ServerState = Literal["starting", "filling", "serving", "leaving", "ended"]


class ServerStatus(Body, frozen=True):
    """One parameter server of a job."""

    server: str
    pid: int | None
    state: ServerState
    filling: int
    """Slots that it is being sent."""
    primary: int
    """Slots that workers ask it for."""
    copy: int
    """Slots that it has a copy of."""
    size_bytes: int = 0
    """Of parameters, optimizer state and rows."""
    rows: int = 0
    updates: int = 0
    """Newest update that it has applied."""
    dropped: int = 0
    """Frames that were malformed or from strangers."""
    limit_bytes: int | None = None
    """What ``size_bytes`` may be at most; null: no limit."""


class Event(Body, frozen=True):
    """Something that happened to a job; also a line of the journal and of ``pliant events``.

    ``stall_s``: the longest gap between two commits around the event minus the median step; None until known.
    """

    seq: int
    time_s: float
    """Unix time in seconds."""
    job: str
    kind: str
    step: int
    message: str
    workers_before: int | None = None
    workers_after: int | None = None
    stall_s: float | None = None
    shards_recomputed: int | None = None
    bytes_moved: int | None = None


class JobStatus(Body, frozen=True):
    """``GET /v1/jobs/NAME``."""

    name: str
    state: JobState
    script: str
    step: int
    """Committed steps so far."""
    total_steps: int | None
    epoch: int
    epochs: int | None
    loss: float | None
    steps_per_s: float | None
    samples: int
    shards: int | None
    generation: int
    target_workers: int
    min_workers: int
    max_workers: int
    started_s: float
    workers: list[WorkerStatus]
    error: str | None = None
    failure: FailureKind | None = None
    weights_sha256: str | None = None
    strategy: Strategy = "all-reduce"
    servers: list[ServerStatus] = []
    target_servers: int = 0
    """0: the strategy needs none."""
    min_servers: int = 0
    max_servers: int = 0
    staleness: int | None = None
    """As in :class:`JobSpec`."""
    mean_staleness: float | None = None
    """Not synchronous: how many updates others had applied between a worker's pull and its push, on average."""


class StreamItem(Body, frozen=True):
    """One frame of the WebSocket ``/v1/events``: exactly one of the two is set.

    An event whose numbers became known later comes again under the same ``seq``.
    """

    event: Event | None = None
    status: JobStatus | None = None


class Report(Body, frozen=True):
    """``GET /v1/jobs/NAME/report`` and ``--report FILE``."""

    name: str
    state: JobState
    script: str
    steps: int
    samples: int
    wall_s: float
    """From the first generation's start to the last commit."""
    median_step_s: float
    goodput: float
    """Useful time (steps x median step) / wall_s, at most 1."""
    final_loss: float | None
    weights_sha256: str | None
    events: list[Event]
    commit_times_s: list[float]
    """Seconds since the first generation's start, one entry per committed step."""
    losses: list[float | None]
    workers_over_time: list[tuple[float, int]]
    """(seconds, training workers) at each change."""
    first_step: int = 0
    """The step that ``commit_times_s`` and ``losses`` begin with: where a resumed job went on."""
    strategy: Strategy = "all-reduce"
    servers_over_time: list[tuple[float, int]] = []
    """(seconds, parameter servers that hold slots) at each change."""
    staleness: int | None = None
    """As in :class:`JobSpec`."""
    mean_staleness: float | None = None
    """As in :class:`JobStatus`."""
    pushes_by_staleness: dict[int, int] = {}
    """How many pushes, each of which is an update, came how many updates after their worker's pull."""


class Problem(Body, frozen=True):
    """Body of every error answer."""

    error: str
