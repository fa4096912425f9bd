"""What a job's agent and the coordinator say to each other, over the WebSocket ``/v1/agents``."""

from __future__ import annotations

from typing import Literal

from pliant.wire.message import Message
from pliant.wire.messages import Refused, Taken

UNKNOWN_EXIT = 255
"""Exit code of a process of which nobody saw how it ended."""
Role = Literal["worker", "server"]


class AgentHello(Message, frozen=True):
    """First frame of an agent. ``workers``: id -> pid of those alive (not empty when it reconnects)."""

    job: str
    node: str
    pid: int
    workers: dict[str, int] = {}  # noqa: RUF012 - msgspec copies it
    launch: str = ""


class AgentLeaving(Message, frozen=True):
    """The agent was told to end (SIGTERM), and ends its workers with it. No other agent is to take its place."""

    reason: str


class WorkerStarted(Message, frozen=True):
    """Agent: the process exists. ``device`` is the GPU that it was given, if any."""

    worker: str
    pid: int
    device: str = ""


class WorkerExited(Message, frozen=True):
    """Agent: the process is gone. ``exit_code`` is negative for a signal, as in :mod:`subprocess`, or UNKNOWN_EXIT."""

    worker: str
    pid: int
    exit_code: int
    out_of_memory: bool = False
    """The kernel killed it for lack of memory."""


class WorkerProbed(Message, frozen=True):
    """Agent: answer to ``ProbeWorker``."""

    worker: str
    exists: bool
    stopped: bool
    """By a signal (SIGSTOP)."""
    cpu_s: float
    """Processor time that it has used in its life."""


class StartWorker(Message, frozen=True):
    """To the agent: start a worker process, or a parameter server's, with this id.

    A server's process is a worker's in all that an agent does with it: its id stands in ``worker`` everywhere here.
    """

    worker: str
    role: Role = "worker"


class AdoptWorker(Message, frozen=True):
    """To an agent that replaces one that died: this worker is of the earlier one; watch and signal it as your own."""

    worker: str
    pid: int
    device: str = ""


class ProbeWorker(Message, frozen=True):
    """To the agent: is this worker's process running?"""

    worker: str


class SignalWorker(Message, frozen=True):
    """To the agent: send a signal (9 to kill, 15 to ask it to leave)."""

    worker: str
    signal: int


class StopAgent(Message, frozen=True):
    """To the agent: the job is over. End what is left of it within ``grace_s`` seconds, then exit."""

    grace_s: float = 5.0


AgentToCoordinator = AgentHello | AgentLeaving | WorkerStarted | WorkerExited | WorkerProbed
CoordinatorToAgent = StartWorker | AdoptWorker | ProbeWorker | SignalWorker | StopAgent | Taken | Refused
