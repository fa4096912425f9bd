"""Lines about a service instead of a live view: for pipes, logs and CI."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from pliant.dashboard.plain import PROGRESS_EVERY_S
from pliant.dashboard.service_text import service_event_line, service_line
from pliant.wire.service_api import ServiceEvent, ServiceStatus


class PlainServiceView:
    """A line for each event, and one for the service when it has changed.

    Where it only has other requests than before, that is told every few seconds.

    Args:
        out: Takes the lines.
        clock: Monotonic seconds.
    """

    def __init__(self, *, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out or sys.stdout
        self._clock = clock
        self._told_s = float("-inf")
        self._told: tuple[object, ...] = ()
        self._line = ""

    def start(self) -> None:
        """Nothing to prepare."""

    def status(self, status: ServiceStatus) -> None:
        """The newest one."""
        told = (
            status.state, status.version, status.canary, status.failed, status.refused, status.problem,
            status.least, status.most, [(each.number, each.state) for each in status.replicas],
        )  # fmt: skip
        line = service_line(status)
        if told != self._told or (line != self._line and self._clock() - self._told_s >= PROGRESS_EVERY_S):
            self._told, self._told_s, self._line = told, self._clock(), line
            self._say(line)

    def event(self, event: ServiceEvent) -> None:
        """A new one."""
        self._say(service_event_line(event))

    def note(self, text: str) -> None:
        """Something that the command line itself has to say."""
        self._say(text)

    def close(self) -> None:
        """Nothing to restore."""

    def _say(self, text: str) -> None:
        print(text, file=self._out, flush=True)
