"""Everything that can happen to a job, as one type: what is journaled before it is handled.

A job's runtime is a function of these and of the times at which they came: whoever handles the same ones again is where
the coordinator was that died. (Event sourcing; Fowler, 2005.)
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pliant.wire.agent_messages import AgentHello, AgentToCoordinator, WorkerProbed
from pliant.wire.api import MisbehaveRequest
from pliant.wire.messages import (
    CallEnded,
    StillHere,
    WeightsPublished,
    WorkerHello,
    WorkerProgress,
    WorkerToCoordinator,
)
from pliant.wire.server_messages import ServerHello, ServerProgress
from pliant.wire.server_talk import ServerToCoordinator

REPLAY_VERSION = 2
"""Raise it when the same inputs lead to something else than before: older live jobs are then not taken up."""

UNTOLD = (WorkerProgress, ServerProgress, StillHere, WorkerProbed, WeightsPublished)
"""What workers, servers and agents say and nothing depends on but what is known at this moment."""

Timer = Literal[
    "agent_never_came", "agent_away", "worker_vanished", "worker_slow", "worker_silent", "worker_stays", "leavers"
]


class _Input(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Base of all inputs."""


class JobCreated(_Input, frozen=True):
    """The first one. The spec is kept beside it."""


class JobTakenUp(_Input, frozen=True):
    """Another coordinator has replayed the job, and goes on with it from here. ``away_s``: since the last input."""

    away_s: float


class WorkerConnected(_Input, frozen=True):
    """A worker has said hello."""

    hello: WorkerHello


class WorkerSaid(_Input, frozen=True):
    """A message of a worker, after its hello."""

    worker: str
    message: WorkerToCoordinator


class WorkerDisconnected(_Input, frozen=True):
    """A worker's connection has ended."""

    worker: str


class ServerConnected(_Input, frozen=True):
    """A parameter server has said hello."""

    hello: ServerHello


class ServerSaid(_Input, frozen=True):
    """A message of a parameter server, after its hello."""

    server: str
    message: ServerToCoordinator


class ServerDisconnected(_Input, frozen=True):
    """A parameter server's connection has ended."""

    server: str


class AgentConnected(_Input, frozen=True):
    """The job's agent has said hello."""

    hello: AgentHello


class AgentSaid(_Input, frozen=True):
    """A message of the agent, after its hello."""

    message: AgentToCoordinator


class AgentDisconnected(_Input, frozen=True):
    """The agent's connection has ended."""


class AgentDied(_Input, frozen=True):
    """The agent's process is gone. ``replaced``: another one has been started."""

    pid: int
    replaced: bool


class ScaleAsked(_Input, frozen=True):
    """A user wants another number of workers."""

    workers: int


class ScaleServersAsked(_Input, frozen=True):
    """A user wants another number of parameter servers."""

    servers: int


class StopAsked(_Input, frozen=True):
    """A user wants the job to stop."""

    now: bool


class FaultAsked(_Input, frozen=True):
    """Somebody tests what becomes of the job when a worker misbehaves."""

    asked: MisbehaveRequest


class TimeRanOut(_Input, frozen=True):
    """Something that was expected has not happened in time."""

    what: Timer
    worker: str = ""
    """Or a parameter server."""
    detail: str = ""


class CheckpointChosen(_Input, frozen=True):
    """The newest good checkpoint of the job, with what its manifest says; no ``path``: there is none."""

    damaged: list[str]
    """Newer ones that were passed over, with the reasons."""
    path: str = ""
    step: int = 0
    call_began: int = 0
    """Step at which the call began that was running then."""
    epoch: int = 0
    samples: int = 0
    loss: float | None = None
    calls: list[CallEnded] = []
    """All that had ended."""


Input = (
    JobCreated
    | JobTakenUp
    | WorkerConnected
    | WorkerSaid
    | WorkerDisconnected
    | ServerConnected
    | ServerSaid
    | ServerDisconnected
    | AgentConnected
    | AgentSaid
    | AgentDisconnected
    | AgentDied
    | ScaleAsked
    | ScaleServersAsked
    | StopAsked
    | FaultAsked
    | TimeRanOut
    | CheckpointChosen
)


class Moment(msgspec.Struct, frozen=True):
    """When an input came, and the newest event's number then: all that handling it reads beside the input itself."""

    time_s: float
    """CLOCK_MONOTONIC: the same for all processes of a machine until it restarts."""
    unix_s: float
    seq: int = 0


class Entry(msgspec.Struct, frozen=True):
    """One line of a job's journal."""

    moment: Moment
    input: Input
