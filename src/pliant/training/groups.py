"""The worker's side of generations: which process group it is in, which one is being built, and when a group ends.

Two threads meet here. The *control* thread calls the ``on_...`` methods as the coordinator's commands come in; the
*main* thread trains, asks for the group and moves from one to the next. Whatever the main thread is doing, an
interrupt is obeyed and answered at once.

Rules (docs/design/0001; the simulation in :mod:`pliant.sim` drives the same ones):

* A planned generation's group is built in the background. ``prepared`` says that it stands; once said in-band it is
  not taken back.
* ``Interrupt(g)`` ends every group up to g, whatever its state, and the worker's answer about ``stateful`` is final
  for g.
* Becoming stateful and being interrupted exclude each other: ``enter`` fails if the group has been aborted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pliant.comm.base import Group
from pliant.comm.listener import MeshListener
from pliant.comm.mesh import MeshGroup
from pliant.errors import ConnectionLostError, GenerationOverError
from pliant.timeouts import Timeouts
from pliant.wire.messages import FormGeneration, GenerationFailed, GenerationKind, Interrupted, Member

LOOK_S = 1.0


@dataclass
class Formation:
    """A generation that was announced to this worker."""

    command: FormGeneration
    group: MeshGroup | None = None
    included: bool = True
    over: bool = False
    missing: set[str] = field(default_factory=set)
    """Members that are not connected yet."""
    began_s: float = field(default_factory=time.monotonic)

    def cut_off(self, *, after_s: float) -> list[str]:
        """Members that do not answer, or that this worker could not reach for ``after_s``."""
        if self.over:
            return []
        if self.group is not None:
            return [] if self.group.unreachable is None else [self.group.unreachable]
        return list(self.missing) if time.monotonic() - self.began_s > after_s else []


class Groups:
    """The groups of one worker. ``send`` passes a message to the coordinator, never blocking."""

    def __init__(
        self,
        listener: MeshListener,
        *,
        patience_s: float,
        send: Callable[[object], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """``check`` is called now and then while waiting; it raises if there is nothing to wait for any more."""
        self._listener, self._send, self._check = listener, send, check
        self.set_patience(patience_s)
        self._changed = threading.Condition()
        self._current: Formation | None = None
        self._next: Formation | None = None
        self._planned: Formation | None = None
        self._told: int = 0
        """Newest planned generation that was said to be prepared in-band."""
        self._interrupted = 0
        self._seen = 0
        self._ended: BaseException | None = None
        self.stateful = False
        self.entered = 0

    def set_patience(self, patience_s: float) -> None:
        """From here on, also for the listener."""
        self.timeouts = self._listener.timeouts = Timeouts(patience_s)

    # ------------------------------------------------------------ main thread

    @property
    def generation(self) -> int:
        """The generation in use; 0 before the first."""
        return self._current.command.generation if self._current else 0

    @property
    def members(self) -> list[Member]:
        """Members of the generation in use, in rank order."""
        return list(self._current.command.members) if self._current else []

    def usable(self) -> MeshGroup | None:
        """The current group, None if there is none or it was interrupted."""
        with self._changed:
            if self._ended is not None:
                raise self._ended
            current = self._current
            return None if current is None or current.over else current.group

    def prepared(self) -> int:
        """The planned generation whose group stands here, to be said in-band; 0 if none."""
        with self._changed:
            planned = self._planned
            if planned is None or planned.over or (planned.included and planned.group is None):
                return 0
            self._told = planned.command.generation
            return self._told

    def switch(self, generation: int) -> MeshGroup | None:
        """Move to the planned generation that all members agreed on; None if this worker is not in it.

        Raises GenerationOverError if it was interrupted meanwhile: await the next one.
        """
        with self._changed:
            planned = self._planned
            if planned is None or planned.command.generation != generation or planned.over:
                raise GenerationOverError(f"generation {generation} was interrupted before the switch")
            self._planned = None
            old, self._current = self._current, planned
        if old is not None and old.group is not None:
            old.group.close()
        return planned.group

    def await_next(self) -> tuple[MeshGroup, GenerationKind]:
        """Wait for a founding, recovery or (as a newcomer) planned generation, and move to it. Blocking."""
        with self._changed:
            while True:
                if self._ended is not None:
                    raise self._ended
                ready = self._next
                if ready is not None and ready.group is not None and not ready.over:
                    group = ready.group
                    break
                self._changed.wait(LOOK_S)
                self._check()
            self._next = None
            old, self._current = self._current, ready
        if old is not None and old.group is not None:
            old.group.close()
        return group, ready.command.kind

    def enter(self, group: Group) -> None:
        """The first exchange of ``group``'s generation is complete: from here on this worker holds the job's state.

        Raises GenerationOverError if the group was aborted: the worker is what it was before.
        """
        with self._changed:
            if self._current is None or self._current.group is not group or self._current.over:
                raise GenerationOverError(f"generation {group.generation} was interrupted")
            self.stateful = True
            self.entered = group.generation

    def check(self) -> None:
        """Raise what has ended this worker's part in the job, if anything has."""
        with self._changed:
            if self._ended is not None:
                raise self._ended
        self._check()

    def broke(self, group: Group, error: Exception) -> None:
        """The main thread lost a peer: shut the group and tell the coordinator, unless it knows."""
        with self._changed:
            known = self._current is None or self._current.group is not group or self._current.over
            self._end(lambda formation: formation.group is group)
        if not known and not isinstance(error, GenerationOverError):
            self._send(_failed(group.generation, error))

    # ------------------------------------------------------------ control thread

    def on_form(self, command: FormGeneration) -> None:
        """FormGeneration: build the group in the background."""
        included = any(member.worker == self._listener.worker for member in command.members)
        formation = Formation(command, included=included)
        with self._changed:
            if command.generation <= max(self._interrupted, self._seen):
                return  # late, or said again after a reconnect
            self._seen = command.generation
            self._end(lambda other: other is self._planned or other is self._next)  # replaced by this one
            if command.kind == "planned" and self.stateful:
                self._planned = formation
            else:
                self._next = formation
        if included:
            name = f"pliant-form-{command.generation}"
            threading.Thread(target=self._form, args=(formation,), name=name, daemon=True).start()

    def on_interrupt(self, generation: int) -> None:
        """Interrupt: end all groups up to ``generation`` and answer."""
        with self._changed:
            self._interrupted = max(self._interrupted, generation)
            missing = {
                peer
                for formation in (self._current, self._next, self._planned)
                if formation is not None and formation.command.generation == generation
                for peer in formation.cut_off(after_s=self.timeouts.form_s / 4)
            }
            self._end(lambda formation: formation.command.generation <= generation)
            answer = Interrupted(
                generation=generation, stateful=self.stateful, entered=self.entered, missing=sorted(missing)
            )
        self._send(answer)

    def end(self, reason: BaseException) -> None:
        """No generation will come any more: waiting calls raise ``reason``."""
        with self._changed:
            self._ended = self._ended or reason
            self._end(lambda formation: True)

    def close(self) -> None:
        """Close what is open, at the end of the process; a group that still forms is closed when it has formed."""
        with self._changed:
            for formation in (self._current, self._next, self._planned):
                if formation is not None:
                    formation.over = True
                    _close(formation)
        self._listener.poke()

    def _end(self, which: Callable[[Formation], bool]) -> None:
        for formation in (self._current, self._next, self._planned):
            if formation is not None and which(formation):
                formation.over = True
                if formation.group is not None:
                    formation.group.abort()
        if self._planned is not None and self._planned.over:
            _close(self._planned)
            self._planned = None
        if self._next is not None and self._next.over:
            _close(self._next)
            self._next = None
        self._changed.notify_all()
        self._listener.poke()

    def _form(self, formation: Formation) -> None:
        command = formation.command
        try:
            group = self._listener.form(
                command.generation,
                command.members,
                timeout_s=self.timeouts.form_s,
                cancelled=lambda: formation.over,
                missing=formation.missing,
            )
        except GenerationOverError:
            return
        except ConnectionLostError as error:
            self._not_formed(formation, error)
            return
        with self._changed:
            if formation.over:
                group.abort()
                group.close()
                return
            formation.group = group
            self._changed.notify_all()

    def _not_formed(self, formation: Formation, error: ConnectionLostError) -> None:
        command = formation.command
        with self._changed:
            if formation.over:
                return
            formation.over = True
            unused = command.kind == "planned" and self._told < command.generation
            self._end(lambda other: other is formation)
        self._send(_failed(command.generation, error, unused=unused))


def _failed(generation: int, error: Exception, *, unused: bool = False) -> GenerationFailed:
    lost = error if isinstance(error, ConnectionLostError) else ConnectionLostError("")
    return GenerationFailed(generation=generation, reason=str(error), peer=lost.peer, closed=lost.closed, unused=unused)


def _close(formation: Formation) -> None:
    """Of a generation whose group no thread can be driving: nobody moved to it, or the process ends."""
    if formation.group is not None:
        formation.group.close()
