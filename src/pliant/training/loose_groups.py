"""Generations of workers that do not wait for each other: lists of names, and nothing is formed or exchanged.

Whoever is in the job already is in each new generation as soon as it hears of it, whatever it is doing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pliant.training.groups import LOOK_S, Formation, Groups
from pliant.wire.messages import FormGeneration, GenerationEntered, GenerationKind


@dataclass(frozen=True)
class Place:
    """Where a worker is."""

    generation: int
    kind: GenerationKind
    rank: int
    members: tuple[str, ...]


class LooseGroups(Groups):
    """As :class:`pliant.training.groups.Groups`, of which only what is here is of use."""

    on_members: Callable[[], None] = staticmethod(lambda: None)
    """Called by the control thread when the members are others."""
    step = 0
    """That this worker is at, for the coordinator."""

    @property
    def place(self) -> Place | None:
        """In the newest generation; None before the first."""
        current = self._current
        if current is None:
            return None
        members = tuple(member.worker for member in current.command.members)
        rank = members.index(self._listener.worker)
        return Place(current.command.generation, current.command.kind, rank, members)

    # ------------------------------------------------------------ main thread

    def await_place(self) -> Place:
        """Wait until this worker is in a generation. Blocking."""
        with self._changed:
            while True:
                if self._ended is not None:
                    raise self._ended
                place = self.place
                if place is not None and place.generation > self._interrupted:
                    return place
                self._changed.wait(LOOK_S)
                self._check()

    def look(self) -> None:
        """Raise what has ended this worker's part in the job, if anything has. That the coordinator is away has not."""
        with self._changed:
            if self._ended is not None:
                raise self._ended

    def pause(self, seconds: float) -> None:
        """Wait for news, not longer than that. Raises what has ended this worker's part in the job."""
        with self._changed:
            self._changed.wait(seconds)
            if self._ended is not None:
                raise self._ended
        self._check()

    def enter_at(self, place: Place) -> bool:
        """From here on this worker holds the job's state. False: the generation was ended before; await another."""
        with self._changed:
            if place.generation <= self._interrupted:
                return False
            self.stateful = True
            newest = self.place
            self._enter(place.generation)
            if newest is not None and newest.generation != place.generation:
                self._enter(newest.generation)
        return True

    # ------------------------------------------------------------ control thread

    def on_form(self, command: FormGeneration) -> None:
        """FormGeneration. One that this worker is not in means that it will be let go: it goes on until then."""
        with self._changed:
            if command.generation <= max(self._interrupted, self._seen):
                return
            self._seen = command.generation
            if all(member.worker != self._listener.worker for member in command.members):
                return
            self._current = Formation(command)
            if self.stateful:
                self._enter(command.generation)
            self._changed.notify_all()
        self.on_members()

    def _enter(self, generation: int) -> None:
        self.entered = generation
        self._send(GenerationEntered(generation=generation, step=self.step, shards=[]))
