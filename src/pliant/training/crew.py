"""Who else trains: nobody (``SoloCrew``, a plain script), or the other workers of an elastic job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pliant.comm.base import Group
from pliant.comm.mesh import MeshGroup
from pliant.parallel.pass_messages import Flags
from pliant.parallel.servers.client import ServersClient
from pliant.parallel.servers.conversation import Beginner
from pliant.training.loose_groups import LooseGroups
from pliant.wire.messages import GenerationKind, JobRules, WeightsOrder, WorkerReady


class Crew(Protocol):
    """What the training loop asks of the other workers. Called by the main thread."""

    worker: str
    threads: int
    """Intra-op threads."""
    slow: float
    """A fault on purpose: this worker takes so many times as long for each shard."""

    loose: LooseGroups | None
    """Workers do not wait for each other; None: they do."""

    @property
    def stopping(self) -> bool:
        """The job is to stop. Where workers wait for each other, ``flags`` says so."""
        ...

    @property
    def deals_by_speed(self) -> bool:
        """Shards are dealt by the workers' measured speed; otherwise evenly."""
        ...

    @property
    def rules(self) -> JobRules:
        """How the job was started."""
        ...

    @property
    def orders(self) -> Sequence[WeightsOrder]:
        """Weights that somebody waits for."""
        ...

    @property
    def workers(self) -> Sequence[str]:
        """Members of the generation in use, by rank."""
        ...

    @property
    def job_name(self) -> str:
        """As the user calls it."""
        ...

    @property
    def restore(self) -> str:
        """The checkpoint that the job begins from, for founders; empty: from the script's own state."""
        ...

    @property
    def founding(self) -> bool:
        """The job has not begun: no rehearsal."""
        ...

    @property
    def stateful(self) -> bool:
        """This worker holds the job's state."""
        ...

    @property
    def generation(self) -> int:
        """The generation in use."""
        ...

    def group(self) -> Group:
        """The current group. Raises GenerationOverError if it was interrupted."""
        ...

    def flags(self, *, more: list[int], samples: int, pace: float) -> Flags:
        """What to tell the others with this pass."""
        ...

    def switch(self, generation: int) -> MeshGroup | None:
        """Move to an agreed planned generation; None: this worker leaves."""
        ...

    def await_next(self) -> tuple[MeshGroup, GenerationKind]:
        """Wait for the next generation and move to it."""
        ...

    def enter(self, group: Group) -> None:
        """The first exchange is complete."""
        ...

    def broke(self, group: Group, error: Exception) -> None:
        """A peer was lost."""
        ...

    def ready(self, shape: WorkerReady) -> None:
        """This worker can be admitted."""
        ...

    def rehearses(self) -> bool:
        """This worker should run one throw-away step before it offers itself; begins the rehearsal if so."""
        ...

    def rehearsed(self) -> None:
        """The throw-away step has come to its end."""
        ...

    def leave_rehearsal(self, reason: str) -> None:
        """The throw-away step did not come to its end: this process cannot go on. Does not return."""
        ...

    def ended_calls(self) -> list[tuple[str, Any]]:
        """Kind and result of the calls that have ended, as far as known."""
        ...

    def last_known(self) -> tuple[int, int, float | None]:
        """(step, epoch, loss) of the job, for the rehearsal."""
        ...

    def tell(self, message: object) -> None:
        """Send something to the coordinator; never blocks."""
        ...

    @property
    def milestones(self) -> frozenset[int]:
        """Steps before which the plan has something to do."""
        ...

    def milestone(self, step: int) -> None:
        """Wait until the plan's events before ``step`` have been started."""
        ...

    def register(self, job: Any) -> None:
        """The script has made its job."""
        ...

    def check_end(self) -> None:
        """Raise JobStopped if this worker's part in the job is over."""
        ...

    def servers(self, begin: Beginner, *, check: Callable[[], None]) -> ServersClient:
        """The way to the parameter servers, with that strategy; called once. Waiting calls call ``check``."""
        ...


class SoloCrew:
    """One worker alone, without a coordinator: ``python train.py``."""

    worker = "w1"
    threads = 1
    slow = 1.0
    loose: LooseGroups | None = None
    stopping = False
    deals_by_speed = True
    job_name = ""
    restore = ""
    founding = True
    stateful = True
    generation = 0
    rules = JobRules(check_every=0)
    orders: Sequence[WeightsOrder] = ()
    workers: Sequence[str] = ("w1",)
    milestones: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self._group = MeshGroup(0, 0, {})

    def group(self) -> Group:
        """A group of one."""
        return self._group

    def flags(self, *, more: list[int], samples: int, pace: float) -> Flags:
        """Nothing to tell but which streams go on."""
        return Flags(more=more, samples=samples, pace=pace)

    def rehearses(self) -> bool:
        """There is no job to wait for."""
        return False

    def rehearsed(self) -> None:
        """Never happens."""

    def leave_rehearsal(self, reason: str) -> None:
        """Never happens."""

    def ended_calls(self) -> list[tuple[str, Any]]:
        """None ended before this process began."""
        return []

    def switch(self, generation: int) -> MeshGroup | None:
        """Never happens."""
        raise AssertionError("a plain script has no generations")

    def await_next(self) -> tuple[MeshGroup, GenerationKind]:
        """Never happens."""
        raise AssertionError("a plain script has no generations")

    def last_known(self) -> tuple[int, int, float | None]:
        """The beginning."""
        return 0, 0, None

    def enter(self, group: Group) -> None:
        """Nothing to do."""

    def broke(self, group: Group, error: Exception) -> None:
        """Nothing to do."""

    def ready(self, shape: WorkerReady) -> None:
        """Nothing to do."""

    def tell(self, message: object) -> None:
        """Nobody listens."""

    def milestone(self, step: int) -> None:
        """There is no plan."""

    def register(self, job: Any) -> None:
        """Nobody asks."""

    def check_end(self) -> None:
        """It is over when the script ends."""

    def servers(self, begin: Beginner, *, check: Callable[[], None]) -> ServersClient:
        """There are none."""
        raise AssertionError("a plain script has no parameter servers")


_ambient: Callable[[], Crew] = SoloCrew


def set_ambient(make: Callable[[], Crew]) -> None:
    """Called by the worker's main before the script runs: what ``pliant.join`` will use."""
    global _ambient  # noqa: PLW0603 - the one process-wide setting
    _ambient = make


def ambient_crew() -> Crew:
    """The crew of this process."""
    return _ambient()
