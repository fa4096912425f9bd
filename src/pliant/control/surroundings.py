"""What a job's runtime needs of the coordinator around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pliant.control.clock import Clock
from pliant.control.journal import Journal
from pliant.wire.api import Event


@dataclass(frozen=True)
class Surroundings:
    """Given to each job. ``publish`` tells followers of the event stream about a new or completed event."""

    clock: Clock
    journal: Journal
    next_seq: Callable[[], int]
    publish: Callable[[Event], None]
    home: Path | None = None
    """Where jobs may leave files (TensorBoard's); None: nowhere."""
    agent_patience_s: float = 60.0
    """How long a new job waits for its agent, before it fails."""
