"""What :class:`~pliant.serving.route_state.RouteState` decides, and what it keeps of requests and replicas."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from pliant.serving.batch_plan import Waiting

FailureKind = Literal["late", "raised", "killed", "cut", "stopping", "broken"]
"""Why a request that was taken gets no answer.

``late``: its deadline passed while it waited. ``raised``: ``predict`` raised on it alone. ``killed``: replicas died
while they computed it, the last one on it alone; or one did, and it must not be computed twice. ``cut``: the replica
died in the middle of the answer. ``stopping``: the service ends. ``broken``: no replica can be started.
"""


@dataclass
class Request:
    """One that was taken and has not ended."""

    id: int
    arrived_s: float
    rows: int = 1
    key: Hashable = None
    deadline_s: float | None = None
    repeatable: bool = True
    """Whether it may be computed again when the first replica dies over it."""
    deaths: int = 0
    """Replicas that died while they computed it."""
    begun: bool = False
    """The first byte of the answer is on its way."""

    @property
    def waiting(self) -> Waiting:
        """As the queue wants it."""
        return Waiting(self.id, self.arrived_s, self.rows, self.key, self.deadline_s)


@dataclass
class Replica:
    """One process."""

    id: int
    ready: bool = False
    draining: bool = False
    """It gets nothing more, and goes when it owes nothing."""
    owes: dict[int, Request] = field(default_factory=dict)
    since_s: float = 0.0
    """When it was started, became ready, or got what it owes."""
    batches: int = 0
    """That it has answered."""


@dataclass(frozen=True)
class Compute:
    """Send these requests to this replica, as one batch."""

    replica: int
    requests: tuple[int, ...]


@dataclass(frozen=True)
class Cancel:
    """Tell this replica that nobody wants the rest of this answer."""

    replica: int
    request: int


@dataclass(frozen=True)
class Refuse:
    """The request was not taken: 429, or 504 if it would be ``late``, or 503 if the service ends or is broken."""

    request: int
    reason: str
    kind: Literal["full", "late", "stopping", "broken"]
    retry_after_s: float = 1.0


@dataclass(frozen=True)
class Fail:
    """The request ends without an answer, or without the rest of it."""

    request: int
    kind: FailureKind
    reason: str


@dataclass(frozen=True)
class StartReplica:
    """Fork one with this number."""

    replica: int


@dataclass(frozen=True)
class RetireReplica:
    """It owes nothing: tell it to end."""

    replica: int


@dataclass(frozen=True)
class KillReplica:
    """It does not answer: SIGKILL. Its requests have been given to others."""

    replica: int
    reason: str


Decision = Compute | Cancel | Refuse | Fail | StartReplica | RetireReplica | KillReplica
