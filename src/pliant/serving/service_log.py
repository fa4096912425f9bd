"""What happened to a service: a line of JSON for each event, in ``events.jsonl`` of its directory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from pliant.wire.service_api import ServiceEvent, read_events


class ServiceLog:
    """Appends; events are numbered on across routers. A disk that does not take one is no reason to stop serving."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seq = max((event.seq for event in read_events(path)), default=0)

    def record(self, kind: str, message: str) -> None:
        """One event, now."""
        self._seq += 1
        line = msgspec.json.encode(ServiceEvent(self._seq, time.time(), kind, message)) + b"\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError:
            return
