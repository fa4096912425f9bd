"""What the decider knows of each worker process and of each generation: plain records, no rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pliant.ids import Generation, WorkerId
from pliant.membership.events import AnnounceGeneration, Place
from pliant.wire.messages import GenerationKind


@dataclass
class WorkerRecord:
    """One worker process. Flags are only ever set, except for ``stateful``'s meaning: see the fields."""

    worker: WorkerId
    number: int
    host: str = ""
    port: int = 0
    connected: bool = False
    readied: bool = False
    stateful: bool = False
    """It has completed the first exchange of a generation, so it holds the job's model and optimizer."""
    asked_to_leave: int = 0
    """0: no; otherwise its place in the order in which workers asked."""
    unused_generations: int = 0
    """Planned generations it was to join as a newcomer and that could not be formed."""
    ended: bool = False
    retired: bool = False
    gone: bool = False

    @property
    def live(self) -> bool:
        """The process exists, is wanted, and its script has not ended."""
        return not (self.ended or self.retired or self.gone)

    @property
    def ready(self) -> bool:
        """It can be a member of a generation."""
        return self.live and self.connected and self.readied


@dataclass
class Formation:
    """A generation that was announced: its members in rank order, and which of them have entered it."""

    generation: Generation
    kind: GenerationKind
    places: tuple[Place, ...]
    to: tuple[WorkerId, ...]
    entered: set[WorkerId] = field(default_factory=set)
    members: tuple[WorkerId, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.members = tuple(place.worker for place in self.places)
        self._set = frozenset(self.members)

    def __contains__(self, worker: object) -> bool:
        return worker in self._set

    @property
    def complete(self) -> bool:
        """Every member has entered it."""
        return len(self.entered) == len(self.members)

    def announcement(self, to: tuple[WorkerId, ...] | None = None) -> AnnounceGeneration:
        """The decision that makes it known, to everybody or (again) to some."""
        return AnnounceGeneration(self.generation, self.kind, self.places, to=self.to if to is None else to)


class Roster:
    """All workers that a job ever had, in the order of their numbers."""

    def __init__(self) -> None:
        self._records: dict[WorkerId, WorkerRecord] = {}
        self._live: dict[WorkerId, WorkerRecord] = {}

    def add(self) -> WorkerRecord:
        """A record with a new id, never used before."""
        number = len(self._records) + 1
        record = WorkerRecord(WorkerId(f"w{number}"), number)
        self._records[record.worker] = self._live[record.worker] = record
        return record

    def get(self, worker: WorkerId) -> WorkerRecord | None:
        """The record of ``worker``, or None if no such worker was ever started."""
        return self._records.get(worker)

    def __getitem__(self, worker: WorkerId) -> WorkerRecord:
        return self._records[worker]

    def __iter__(self) -> Iterator[WorkerRecord]:
        return iter(self._records.values())

    def live(self) -> list[WorkerRecord]:
        """Live workers, oldest first. What is over is never looked at again: a long job stays cheap."""
        for worker in [w for w, record in self._live.items() if not record.live]:
            del self._live[worker]
        return list(self._live.values())

    def only_live(self, workers: Iterable[WorkerId]) -> list[WorkerId]:
        """Those of ``workers`` that are live, in the order given."""
        return [worker for worker in workers if self._records[worker].live]
