"""The events of one job, as users see them: numbered, and completed later when a number becomes known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pliant.wire.api import Event

_MOST_EVENTS = 10_000


class EventLog:
    """Keeps the latest 10,000 events of a job and tells ``publish`` about each, and about each change of one."""

    def __init__(
        self, job: str, *, now_s: Callable[[], float], next_seq: Callable[[], int], publish: Callable[[Event], None]
    ) -> None:
        """``now_s``: Unix time. ``next_seq``: numbers are unique and rising over all jobs of a coordinator."""
        self._job = job
        self._now_s = now_s
        self._next_seq = next_seq
        self._publish = publish
        self._events: dict[int, Event] = {}

    def record(self, kind: str, message: str, *, step: int, before: int | None = None, after: int | None = None) -> int:
        """Add an event; returns its number. ``before``, ``after``: numbers of training workers."""
        event = Event(
            seq=self._next_seq(),
            time_s=self._now_s(),
            job=self._job,
            kind=kind,
            step=step,
            message=message,
            workers_before=before,
            workers_after=after,
        )
        self._events[event.seq] = event
        if len(self._events) > _MOST_EVENTS:
            del self._events[next(iter(self._events))]
        self._publish(event)
        return event.seq

    def update(self, seq: int, **fields: Any) -> None:
        """Complete event ``seq``. Publishes it again if anything changed; an event that was dropped stays so."""
        old = self._events.get(seq)
        if old is None:
            return
        event = msgspec.structs.replace(old, **fields)
        if event != old:
            self._events[seq] = event
            self._publish(event)

    def after(self, seq: int) -> list[Event]:
        """Events with a larger number, in order."""
        return [event for event in self._events.values() if event.seq > seq]
