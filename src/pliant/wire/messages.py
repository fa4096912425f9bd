"""Every message of the control plane, typed. JSON on the wire, tagged with ``type``.

Four conversations, all started by the other side towards the coordinator, all behind the token:

* worker <-> coordinator, WebSocket ``/v1/workers``
* agent <-> coordinator, WebSocket ``/v1/agents`` (:mod:`pliant.wire.agent_messages`)
* parameter server <-> coordinator, WebSocket ``/v1/servers`` (:mod:`pliant.wire.server_messages`)
* command line and tools -> coordinator, plain HTTP (:mod:`pliant.wire.api`)

Events are in the past tense, commands are imperative. Nothing here imports torch.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pliant.wire.message import Message
from pliant.wire.server_messages import PlaceSlots

GenerationKind = Literal["founding", "planned", "recovery"]
UNBOUNDED = -1
"""A staleness without a bound."""


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place in a generation: who, at which rank, and where its mesh port listens."""

    worker: str
    rank: int
    host: str
    port: int


# ---------------------------------------------------------------- worker -> coordinator


class WorkerHello(Message, frozen=True):
    """First frame of a worker. ``generation`` and ``stateful`` matter when it *re*connects."""

    job: str
    worker: str
    pid: int
    host: str
    port: int
    generation: int = 0
    stateful: bool = False
    launch: str = ""
    """The job's ``JobSpec.launch``."""


class WorkerReady(Message, frozen=True):
    """A worker stands at its first ``job.steps`` (newcomers: after the rehearsal) and can be admitted."""

    shards: int
    batch_size: int
    total_steps: int | None = None
    epochs: int | None = None
    call: int = 0
    """Number of the ``steps`` or ``evaluate`` call at which it stands; each may have a loader of its own."""


class RehearsalFailed(Message, frozen=True):
    """A newcomer's throw-away step raised, or left the loop: it exits, and later newcomers do without rehearsal."""

    reason: str


class GenerationEntered(Message, frozen=True):
    """The worker finished the first exchange of a generation: it holds the job's state and trains in it."""

    generation: int
    step: int
    shards: list[int]
    shards_recomputed: list[int] = []  # noqa: RUF012 - msgspec copies it
    bytes_received: int = 0
    bytes_sent: int = 0


class GenerationFailed(Message, frozen=True):
    """A generation's group could not be formed, or broke (``peer`` is whom the worker lost, if known).

    ``closed``: the peer's end was closed or reset, as it does when it has lost somebody itself. ``unused`` (planned
    ones): this worker has not moved to that generation and never will.
    """

    generation: int
    reason: str
    peer: str | None = None
    closed: bool = False
    unused: bool = False


class Interrupted(Message, frozen=True):
    """Answer to ``Interrupt``: the group is shut; ``stateful`` says if this worker holds the job's state.

    ``entered`` is the newest generation that this worker has entered (see ``GenerationEntered``).
    """

    generation: int
    stateful: bool
    entered: int = 0
    missing: list[str] = []  # noqa: RUF012 - msgspec copies it
    """Members that do not answer this worker, or that it has not reached for long, while they may be well."""


class StepsCommitted(Message, frozen=True):
    """Sent by the main worker, a few times a second or at a milestone: consecutive committed steps.

    ``times_s`` are monotonic-clock seconds of each commit; lists have one entry per step.
    """

    first_step: int
    times_s: list[float]
    losses: list[float | None]
    epoch: int
    samples: int
    staleness: dict[int, int] = {}  # noqa: RUF012 - msgspec copies it
    """Not synchronous: of the whole job so far, how many pushes came how many updates after their worker's pull."""


class WorkerProgress(Message, frozen=True):
    """Sent by every worker at most a few times a second, for the status."""

    step: int
    state: Literal["starting", "rehearsing", "ready", "training", "evaluating", "leaving", "finished"]
    shards: list[int]


class CallEnded(Message, frozen=True):
    """Main worker: the ``call``-th ``steps``/``evaluate`` of the script has ended (with its result).

    The coordinator keeps these and relays them to newcomers, which fast-forward through them.
    """

    call: int
    kind: Literal["steps", "evaluate"]
    result: msgspec.Raw = msgspec.Raw(b"null")


class MilestoneReached(Message, frozen=True):
    """Main worker: about to start ``step``, for which the plan has events; waits for MilestonePassed."""

    step: int


class WorkerLeaving(Message, frozen=True):
    """The worker was asked to go (SIGTERM, spot notice) and wants to be left out of the next generation."""

    reason: str


class WorkerFinished(Message, frozen=True):
    """The script ended normally on this worker."""

    weights_sha256: str
    steps: int
    samples: int
    final_loss: float | None


class WorkerFailed(Message, frozen=True):
    """The user's script raised, or (``diverged``) workers that must agree bit for bit do not. Nothing to retry."""

    error: str
    traceback: str
    kind: Literal["script", "diverged"] = "script"
    steps: int = 0
    """Committed so far, as this worker knows; the main worker's reports may still be under way."""
    samples: int = 0


class StillHere(Message, frozen=True):
    """Any worker, a few times within each ``patience_s``, from its control thread: silence means that it hangs."""


class CheckpointWritten(Message, frozen=True):
    """The main worker has a new complete one: the state before ``step``; ``seconds`` from the copy to the rename."""

    step: int
    path: str
    size_bytes: int
    seconds: float


class CheckpointFailed(Message, frozen=True):
    """A checkpoint could not be written (disk full, read-only). Training goes on; earlier ones are untouched."""

    step: int
    error: str


class CheckpointSkipped(Message, frozen=True):
    """A checkpoint was due, but the one before step ``writing`` is not complete yet. Said once until one is written."""

    step: int
    writing: int


class WeightsPublished(Message, frozen=True):
    """The main worker has written the weights that a :class:`WeightsOrder` asked for, as a whole: ``path`` is complete.

    ``error``: or it could not; training goes on, and the order is over.
    """

    directory: str
    step: int
    path: str = ""
    size_bytes: int = 0
    seconds: float = 0.0
    error: str = ""
    every: int = 0
    """The order's. 0: of the end, for whoever has ever followed."""


# ---------------------------------------------------------------- coordinator -> worker


class WeightsOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody wants the tracked modules as they are before a step: the first one from ``after`` on that ``every``
    divides, or the end of the script. They go into ``directory``, which is there.
    """

    directory: str
    every: int
    after: int = 0


class JobRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker has to know of how its job was started (see :class:`pliant.wire.api.JobSpec`)."""

    checkpoints: str = ""
    """Directory of the checkpoints; empty: none are written."""
    checkpoint_every: int = 0
    keep: int = 3
    check_every: int = 50
    """Compare all workers' state before every so manieth step; 0: never."""
    trace: str = ""
    """Directory for what ``pliant verify`` compares; empty: nothing is recorded."""
    stop_after: int = 0
    """End the script after so many steps; 0: never."""
    milestone_wait_s: float = 5.0
    """How long the main worker waits for the plan's events at most."""
    deal: Literal["speed", "even"] = "speed"
    strategy: Literal["all-reduce", "parameter-server"] = "all-reduce"
    staleness: int | None = None
    """As in :class:`pliant.wire.api.JobSpec`."""


class Welcome(Message, frozen=True):
    """Answer to WorkerHello."""

    job: str
    patience_s: float
    founding: bool
    """True: the job has not begun; no rehearsal, the first generation starts from rank 0's own state."""
    rehearse: bool = True
    """Newcomers run one throw-away step before they are admitted; False once that has failed."""
    milestones: list[int] = []  # noqa: RUF012 - msgspec copies it
    calls: list[CallEnded] = []  # noqa: RUF012 - msgspec copies it
    step: int = 0
    """Next step to be committed, as far as the coordinator knows."""
    epoch: int = 0
    loss: float | None = None
    rules: JobRules = JobRules()
    restore: str = ""
    """Founders: the complete checkpoint that the job begins from; empty: from the script's own state."""


class FormGeneration(Message, frozen=True):
    """Form this generation.

    ``founding``/``recovery``: at once. ``planned``: in the background, then agree on a boundary in-band.
    A worker of the current generation that is missing from ``members`` leaves at that boundary.
    """

    generation: int
    kind: GenerationKind
    members: list[Member]


class Interrupt(Message, frozen=True):
    """A member of ``generation`` is gone: shut its group, answer ``Interrupted``."""

    generation: int


class MilestonePassed(Message, frozen=True):
    """The plan's events for ``step`` have been started.

    ``again``: not all of them have taken effect, and the plan is patient: ask again before the next step.
    """

    step: int
    again: bool = False


class PublishWeights(Message, frozen=True):
    """All orders that are open now, in place of those that were told before."""

    orders: list[WeightsOrder]


class StopJob(Message, frozen=True):
    """Stop at the next boundary that all members agree on."""

    reason: str


class Retire(Message, frozen=True):
    """You are not needed, or not part of the job any more: exit now."""

    reason: str


class Misbehave(Message, frozen=True):
    """A fault on purpose (plans, tests). What is None stays as it is."""

    slow: float | None = None
    """Take so many times as long for each shard; 1 ends it."""
    isolated: bool | None = None
    """Move no byte over any connection, nor read one, as if the network were gone."""


class Taken(Message, frozen=True):
    """To a worker or an agent: its first ``count`` messages on this connection, hello not counted, were handled.

    What they changed is in the journal: they need never be sent again, not even to another coordinator.
    """

    count: int


class Refused(Message, frozen=True):
    """To a worker or an agent: its last message was not understood or not allowed, and was ignored.

    Handled (logged) by :mod:`pliant.wire.socket`; a job does not depend on it.
    """

    reason: str


WorkerToCoordinator = (
    WorkerHello
    | WorkerReady
    | RehearsalFailed
    | GenerationEntered
    | GenerationFailed
    | Interrupted
    | StepsCommitted
    | WorkerProgress
    | CallEnded
    | MilestoneReached
    | WorkerLeaving
    | WorkerFinished
    | WorkerFailed
    | StillHere
    | CheckpointWritten
    | CheckpointFailed
    | CheckpointSkipped
    | WeightsPublished
)
CoordinatorToWorker = (
    Welcome
    | FormGeneration
    | Interrupt
    | MilestonePassed
    | CallEnded
    | PublishWeights
    | PlaceSlots
    | StopJob
    | Retire
    | Misbehave
    | Taken
    | Refused
)
