"""The other ends of a job's conversations, as its runtime sees them: something to send to, also while it is away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from pliant.ids import ServerId, WorkerId
from pliant.membership.silence_plan import ProcessLook
from pliant.wire.agent_messages import Role, SignalWorker
from pliant.wire.message import Message
from pliant.wire.messages import WorkerFinished, WorkerProgress
from pliant.wire.server_messages import ServerProgress

_MOST_WAITING = 1000
REPLACED = 4001
"""Close code: the same worker or agent has connected anew."""


class Link(Protocol):
    """One open connection. Neither call blocks; both do nothing once it is closed."""

    def send(self, message: Message) -> None:
        """Queue ``message``."""

    def close(self, code: int, reason: str) -> None:
        """Close after what was queued has been sent."""


@dataclass
class Peer:
    """Someone who may be connected now or not: what is sent meanwhile waits, the oldest being dropped beyond 1000."""

    link: Link | None = None
    away_since_s: float | None = None
    waiting: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        """Send now or once connected."""
        if self.link is not None:
            self.link.send(message)
        else:
            self.waiting = [*self.waiting[-_MOST_WAITING:], message]

    def attach(self, link: Link, *, greeting: Message | None = None) -> None:
        """``link`` replaces whatever there was; ``greeting`` goes first, then what has waited."""
        if self.link is not None:
            self.link.close(REPLACED, "replaced by a newer connection of the same process")
        self.link, self.away_since_s = link, None
        waiting, self.waiting = self.waiting, []
        for message in [greeting, *waiting]:
            if message is not None:
                link.send(message)

    def detach(self, link: Link, *, now_s: float) -> bool:
        """``link`` was closed. False if it had been replaced already."""
        if self.link is not link:
            return False
        self.link, self.away_since_s = None, now_s
        return True

    def away_s(self, now_s: float) -> float:
        """Seconds since it was last connected; 0 while it is, or never was."""
        return 0.0 if self.away_since_s is None else now_s - self.away_since_s


@dataclass
class ProcessRecord(Peer):
    """What the coordinator knows of a process that the job's agent looks after: a worker, or a parameter server."""

    role: ClassVar[Role] = "worker"
    name: str = field(kw_only=True)
    """Its id."""
    pid: int | None = None
    device: str = ""
    """The GPU that its agent gave it."""
    adopting: bool = False
    """A new agent was told to look after it, and has not confirmed that yet."""
    heard_s: float = 0.0
    look: ProcessLook | None = None
    """What its agent last saw of its process. Not journaled."""
    ready: bool = False
    leaving: bool = False
    doomed: bool = False
    """The plan has had it killed."""
    stricken: bool = False
    """The plan has stopped it or cut it off: it is still to be found out, and expelled."""
    slow: float = 1.0
    """The plan has it take so many times as long."""
    retired: bool = False
    gone: bool = False
    """It counts as gone: its process has ended, or it was expelled."""
    expelled: bool = False
    """It hangs, or others cannot reach it: told to leave, and killed if it does not."""
    exited: bool = False
    """Its process has ended."""

    @property
    def met(self) -> bool:
        """It was connected at least once."""
        return self.link is not None or self.away_since_s is not None

    @property
    def dismissed(self) -> bool:
        """It is not needed any more; nothing is awaited of it but its end."""
        return self.retired


@dataclass
class WorkerRecord(ProcessRecord):
    """What the coordinator knows of one worker."""

    progress: WorkerProgress | None = None
    entered: bool = False
    finished: WorkerFinished | None = None

    @property
    def worker(self) -> WorkerId:
        """Its id."""
        return WorkerId(self.name)

    @property
    def dismissed(self) -> bool:
        """Its script has ended, or it is not needed any more."""
        return self.retired or self.finished is not None

    @property
    def unsettled(self) -> bool:
        """On its way to being ready, or to its end, with nothing left to do for it: a patient plan waits for that."""
        there = (self.ready or self.entered or self.leaving) and not self.retired
        return not self.gone and (self.doomed or not there)

    @property
    def state(self) -> str:
        """For the status."""
        if self.finished is not None:
            return "finished"
        if self.leaving or self.retired:
            return "leaving"
        if self.progress is not None and not (self.entered and self.progress.state in ("rehearsing", "ready")):
            return self.progress.state
        return "training" if self.entered else "ready" if self.ready else "starting"


@dataclass
class ServerRecord(ProcessRecord):
    """What the coordinator knows of one parameter server."""

    role: ClassVar[Role] = "server"
    endpoint: str = ""
    """Where it listens."""
    farewell: str = ""
    """Why it is retired."""
    full: bool = False
    """It had no room for slots, which was told."""
    progress: ServerProgress | None = None
    """Only for the status, and not journaled."""

    @property
    def server(self) -> ServerId:
        """Its id."""
        return ServerId(self.name)


@dataclass
class AgentRecord(Peer):
    """What the coordinator knows of a job's agent."""

    pid: int | None = None
    node: str = ""
    lost: bool = False
    leaving: bool = False
    """It was told to end, by somebody who wants no other one in its place."""
    died_s: float | None = None
    """When its process was found dead; None while it lives, and once another one has come."""

    def signal(self, name: str, number: int) -> None:
        """Have a signal sent to a worker or a server."""
        self.send(SignalWorker(name, number))
