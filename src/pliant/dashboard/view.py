"""What follows a job and shows it. One of them for each kind of output."""

from __future__ import annotations

from typing import Protocol

from pliant.wire.api import Event, JobStatus


class View(Protocol):
    """Told everything that a follower of a job learns; shows what it likes."""

    def start(self) -> None:
        """Begin to show."""

    def status(self, status: JobStatus) -> None:
        """The newest status."""

    def event(self, event: Event) -> None:
        """A new event, or one that was told before and now has more numbers."""

    def line(self, worker: str | None, text: str) -> None:
        """A line that a worker printed; ``worker`` is None where it needs no name."""

    def note(self, text: str) -> None:
        """Something that the command line itself has to say."""

    def close(self) -> None:
        """Stop showing; the terminal is as before. May be called twice."""
