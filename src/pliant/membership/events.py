"""What the membership decider hears (events) and says (decisions). See :mod:`pliant.membership.state`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pliant.ids import Generation, WorkerId
from pliant.wire.messages import GenerationKind

Outcome = Literal[
    "finished", "stopped", "failed-script", "failed-lost", "failed-config", "failed-memory", "failed-diverged"
]

NONE_YET = Generation(0)


# ------------------------------------------------------------------ events


@dataclass(frozen=True)
class WorkerConnected:
    """A worker said hello (again, when ``generation`` > 0)."""

    worker: WorkerId
    host: str
    port: int
    generation: Generation = NONE_YET
    stateful: bool = False


@dataclass(frozen=True)
class WorkerReadied:
    """A worker can be admitted; ``shards`` is the script's V."""

    worker: WorkerId
    shards: int


@dataclass(frozen=True)
class WorkerEntered:
    """A member finished the first exchange of ``generation`` and holds the state."""

    worker: WorkerId
    generation: Generation


@dataclass(frozen=True)
class WorkerInterrupted:
    """Answer to :class:`InterruptGeneration`. ``entered``: the newest generation this worker has entered.

    ``missing``: members that do not answer it, or that it has not reached for long.
    """

    worker: WorkerId
    generation: Generation
    stateful: bool
    entered: Generation = NONE_YET
    missing: tuple[WorkerId, ...] = ()


@dataclass(frozen=True)
class GenerationBroke:
    """A member reports that the group of ``generation`` failed to form, or broke.

    ``unused``: the worker has not moved to that (planned) generation and never will, so nobody can. ``peer``: whom
    it has lost, or did not reach. ``closed``: the peer's end was closed, as it does when it has lost somebody itself.
    """

    worker: WorkerId
    generation: Generation
    unused: bool = False
    peer: WorkerId | None = None
    closed: bool = False


@dataclass(frozen=True)
class WorkerGone:
    """The process of a worker is gone, whatever the reason."""

    worker: WorkerId


@dataclass(frozen=True)
class WorkerAskedToLeave:
    """A worker wants to be left out (SIGTERM, spot notice)."""

    worker: WorkerId


@dataclass(frozen=True)
class TargetChanged:
    """The wanted number of workers, already checked against the bounds."""

    target: int


@dataclass(frozen=True)
class StopAsked:
    """The job should stop at a boundary."""


@dataclass(frozen=True)
class WorkerEnded:
    """The script ended normally on this worker."""

    worker: WorkerId


@dataclass(frozen=True)
class WorkerScriptFailed:
    """The user's script raised on this worker."""

    worker: WorkerId


@dataclass(frozen=True)
class WorkersDiverged:
    """This worker found that members which must agree bit for bit do not."""

    worker: WorkerId


@dataclass(frozen=True)
class StateFound:
    """Answer to :class:`FindState`: founders will begin from what was found."""


@dataclass(frozen=True)
class StateMissing:
    """Answer to :class:`FindState`: there is nothing to go on from. ``reason`` is for the user."""

    reason: str


@dataclass(frozen=True)
class StateLost:
    """A part of the job's state was held elsewhere (by parameter servers), and is gone. ``reason`` is for the user."""

    reason: str


MembershipEvent = (
    WorkerConnected
    | WorkerReadied
    | WorkerEntered
    | WorkerInterrupted
    | GenerationBroke
    | WorkerGone
    | WorkerAskedToLeave
    | TargetChanged
    | StopAsked
    | WorkerEnded
    | WorkerScriptFailed
    | WorkersDiverged
    | StateFound
    | StateMissing
    | StateLost
)


# ------------------------------------------------------------------ decisions


@dataclass(frozen=True)
class StartWorkerProcess:
    """Have the agent start a worker with this new id."""

    worker: WorkerId


@dataclass(frozen=True)
class Place:
    """A member of a generation."""

    worker: WorkerId
    rank: int
    host: str
    port: int


@dataclass(frozen=True)
class AnnounceGeneration:
    """Send FormGeneration to ``to``: all members, and for a planned one also those who leave."""

    generation: Generation
    kind: GenerationKind
    members: tuple[Place, ...]
    to: tuple[WorkerId, ...]


@dataclass(frozen=True)
class InterruptGeneration:
    """Send Interrupt to ``to``, and wait for their answers."""

    generation: Generation
    to: tuple[WorkerId, ...]


@dataclass(frozen=True)
class AskToStop:
    """Send StopJob to ``to``."""

    to: tuple[WorkerId, ...]


@dataclass(frozen=True)
class RetireWorker:
    """Send Retire: this process is not needed."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True)
class ExpelWorker:
    """Send Retire: this process is well, but others cannot reach it. It counts as lost."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True)
class FindState:
    """Look for a checkpoint, and answer with :class:`StateFound` or :class:`StateMissing`. Nobody is started before.

    ``lost`` says what happened; empty for a job that is to begin from a checkpoint.
    """

    lost: str = ""


@dataclass(frozen=True)
class EndJob:
    """The job is over. Said once; no decision follows it."""

    outcome: Outcome
    reason: str


Decision = (
    StartWorkerProcess
    | AnnounceGeneration
    | InterruptGeneration
    | AskToStop
    | RetireWorker
    | ExpelWorker
    | FindState
    | EndJob
)
