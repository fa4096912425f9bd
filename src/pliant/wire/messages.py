"""Every message of the control plane, typed. JSON on the wire, tagged with ``type``.

Three conversations, all started by the other side towards the coordinator, all behind the token:

* worker <-> coordinator, WebSocket ``/v1/workers``
* agent <-> coordinator, WebSocket ``/v1/agents``
* command line and tools -> coordinator, plain HTTP (:mod:`pliant.wire.api`)

Events are in the past tense, commands are imperative. Nothing here imports torch.
"""

from __future__ import annotations

from typing import Literal

import msgspec

GenerationKind = Literal["founding", "planned", "recovery"]


class Message(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages; ``type`` on the wire is the class name."""


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place in a generation: who, at which rank, and where its mesh port listens."""

    worker: str
    rank: int
    host: str
    port: int


# ---------------------------------------------------------------- worker -> coordinator


class WorkerHello(Message):
    """First frame of a worker. ``generation`` and ``stateful`` matter when it *re*connects."""

    job: str
    worker: str
    pid: int
    host: str
    port: int
    generation: int = 0
    stateful: bool = False


class WorkerReady(Message):
    """A worker stands at its first ``job.steps`` (newcomers: after the rehearsal) and can be admitted."""

    shards: int
    batch_size: int
    total_steps: int | None = None
    epochs: int | None = None


class GenerationEntered(Message):
    """The worker finished the first exchange of a generation: it holds the job's state and trains in it."""

    generation: int
    step: int
    shards: list[int]
    shards_recomputed: list[int] = []
    bytes_received: int = 0
    bytes_sent: int = 0


class GenerationFailed(Message):
    """A generation's group could not be formed, or broke (``peer`` is whom the worker lost, if known)."""

    generation: int
    reason: str
    peer: str | None = None


class Interrupted(Message):
    """Answer to ``Interrupt``: the group is shut; ``stateful`` says if this worker holds the job's state."""

    generation: int
    stateful: bool


class StepsCommitted(Message):
    """Sent by the main worker, a few times a second or at a milestone: consecutive committed steps.

    ``times_s`` are monotonic-clock seconds of each commit; lists have one entry per step.
    """

    first_step: int
    times_s: list[float]
    losses: list[float | None]
    epoch: int
    samples: int


class WorkerProgress(Message):
    """Sent by every worker at most a few times a second, for the status."""

    step: int
    state: Literal["starting", "rehearsing", "ready", "training", "evaluating", "leaving", "finished"]
    shards: list[int]


class CallEnded(Message):
    """Main worker: the ``call``-th ``steps``/``evaluate`` of the script has ended (with its result).

    The coordinator keeps these and relays them to newcomers, which fast-forward through them.
    """

    call: int
    kind: Literal["steps", "evaluate"]
    result: msgspec.Raw = msgspec.Raw(b"null")


class MilestoneReached(Message):
    """Main worker: about to start ``step``, for which the plan has events; waits for MilestonePassed."""

    step: int


class WorkerLeaving(Message):
    """The worker was asked to go (SIGTERM, spot notice) and wants to be left out of the next generation."""

    reason: str


class WorkerFinished(Message):
    """The script ended normally on this worker."""

    weights_sha256: str
    steps: int
    samples: int
    final_loss: float | None


class WorkerFailed(Message):
    """The user's script raised. Not a fault to retry."""

    error: str
    traceback: str


# ---------------------------------------------------------------- coordinator -> worker


class Welcome(Message):
    """Answer to WorkerHello."""

    job: str
    patience_s: float
    founding: bool
    """True: the job has not begun; no rehearsal, the first generation starts from rank 0's own state."""
    milestones: list[int] = []
    calls: list[CallEnded] = []
    step: int = 0
    """Next step to be committed, as far as the coordinator knows."""
    epoch: int = 0
    loss: float | None = None


class FormGeneration(Message):
    """Form this generation.

    ``founding``/``recovery``: at once. ``planned``: in the background, then agree on a boundary in-band.
    A worker of the current generation that is missing from ``members`` leaves at that boundary.
    """

    generation: int
    kind: GenerationKind
    members: list[Member]


class Interrupt(Message):
    """A member of ``generation`` is gone: shut its group, answer ``Interrupted``."""

    generation: int


class MilestonePassed(Message):
    """The plan's events for ``step`` have been started."""

    step: int


class StopJob(Message):
    """Stop at the next boundary that all members agree on."""

    reason: str


class Retire(Message):
    """You are not needed, or not part of the job any more: exit now."""

    reason: str


# ---------------------------------------------------------------- agent <-> coordinator


class AgentHello(Message):
    """First frame of an agent. ``workers``: id -> pid of those alive (not empty when it reconnects)."""

    job: str
    node: str
    pid: int
    workers: dict[str, int] = {}


class WorkerStarted(Message):
    """Agent: the process exists."""

    worker: str
    pid: int


class WorkerExited(Message):
    """Agent: the process is gone. ``exit_code`` is negative for a signal, as in :mod:`subprocess`."""

    worker: str
    pid: int
    exit_code: int


class StartWorker(Message):
    """To the agent: start a worker process with this id."""

    worker: str


class SignalWorker(Message):
    """To the agent: send a signal (9 to kill, 15 to ask it to leave)."""

    worker: str
    signal: int


class StopAgent(Message):
    """To the agent: the job is over. End what is left of it within ``grace_s`` seconds, then exit."""

    grace_s: float = 5.0


WorkerToCoordinator = (
    WorkerHello
    | WorkerReady
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
)
CoordinatorToWorker = (
    Welcome | FormGeneration | Interrupt | MilestonePassed | CallEnded | StopJob | Retire
)
AgentToCoordinator = AgentHello | WorkerStarted | WorkerExited
CoordinatorToAgent = StartWorker | SignalWorker | StopAgent
