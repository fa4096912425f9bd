"""What a worker that waits for no other gives to be kept for newcomers, and how one begins with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pliant.parallel.servers.frames import Frame, frames_of, value_of
from pliant.parallel.servers.lease_work import FetchWork, KeepWork
from pliant.training.leased_served import LeasedServed
from pliant.training.loose_groups import LooseGroups, Place
from pliant.training.position import Position
from pliant.training.schedules import Progress
from pliant.training.session import Session
from pliant.transfer.capture import capture
from pliant.wire.messages import WorkerReady

PAUSE_S = 0.02
KEEP_S = 1.0
SHARE = 0.01
"""Of the main worker's time at most, for what it gives to be kept."""


class KeptState:
    """Of one worker. Main thread."""

    def __init__(self, session: Session, served: LeasedServed, groups: LooseGroups) -> None:
        self._session, self._served, self._groups = session, served, groups
        self._due_s = 0.0
        self.schedules = Progress()
        """How far the tracked schedulers are."""

    def admit(self, shape: WorkerReady) -> None:
        """Offer this worker, and wait until it holds the job's state. Blocking."""
        self._session.crew.ready(shape)
        while True:
            place = self._groups.await_place()
            if place.kind == "founding" and place.rank == 0:
                if self._found(place):
                    return
            elif self._take(place, shape.call):
                return
            self._groups.pause(PAUSE_S)

    def keep(self, *, always: bool = False, end: bool = False) -> None:
        """As the main worker, now and then. Blocking while it is sent. ``end``: the call has ended."""
        began_s = time.monotonic()
        if not self._session.is_main or (began_s < self._due_s and not always):
            return
        self._give(end=end)
        ended_s = time.monotonic()
        self._due_s = ended_s + max(KEEP_S, (ended_s - began_s) / SHARE)

    def fetch(self, call: int) -> Mapping[str, Any]:
        """What is kept, in the script's call ``call`` or later. Blocking."""
        while (found := self._fetched(call)) is None:
            self._groups.pause(PAUSE_S)
        return found

    def of_the_main_worker(self, position: Position) -> Mapping[str, Any] | None:
        """What it gives at this end of a call; None: this worker is the main one, or none gives anything.

        Blocking, for as long as a hung worker is borne.
        """
        until_s = time.monotonic() + self._groups.timeouts.patience_s
        while time.monotonic() < until_s:
            now = self._groups.await_place()
            self._session.stand(now.rank, len(now.members))
            if now.rank == 0:
                self.keep(always=True, end=True)
                return None
            found = self._fetched(position.call, position.step, end=True)
            if found is not None:
                return found
            self._groups.pause(PAUSE_S)
        return None

    def take_position(self, kept: Mapping[str, Any]) -> None:
        """This worker is where the main worker was."""
        self._session.position = Position.from_state(dict(kept["position"]))
        self.schedules = Progress(**kept["schedules"])

    def _found(self, place: Place) -> bool:
        """The job begins here, with what this worker's script has made, or with a checkpoint."""
        session = self._session
        session.stand(place.rank, len(place.members))
        if session.crew.restore:
            session.begin_from(Path(session.crew.restore))
        session.position.era = place.generation
        self.schedules = Progress(session.position.step - 1)
        session.load_pending()
        self._served.gives_first_state = True
        self._served.read()
        self._served.gives_first_state = False
        self._served.drop_state()
        self._give()
        return self._enter(place)

    def _take(self, place: Place, call: int) -> bool:
        """The job has begun: go on where it is."""
        kept = self._fetched(call)
        if kept is None:
            return False
        position = Position.from_state(dict(kept["position"]))
        if place.kind == "founding" and position.era != place.generation:
            return False
        self._session.stand(place.rank, len(place.members))
        self._session.pending(kept)
        self.take_position(kept)
        return self._enter(place)

    def _enter(self, place: Place) -> bool:
        self._groups.step = self._session.position.step
        return self._groups.enter_at(place)

    def _give(self, *, end: bool = False) -> None:
        session = self._session
        with session.own_state():
            state = capture(session.tracked)
        value = {"tracked": state, "position": session.position.as_state(), "schedules": self.schedules.plain()}
        frames: list[Frame] = [bytes(frame) for frame in frames_of(value)[0]]  # a copy: it may be said again
        self._served.client.ask(KeepWork(session.position.call, session.position.step, end, frames))

    def _fetched(self, call: int, step: int = 0, *, end: bool = False) -> Mapping[str, Any] | None:
        work = self._served.client.ask(FetchWork(call, step, end))
        found: Mapping[str, Any] | None = value_of(work.frames) if work.frames else None
        return found
