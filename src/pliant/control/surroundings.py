"""What a job's runtime needs of the coordinator around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pliant.wire.api import Event, JobStatus, Report


@dataclass(frozen=True)
class Surroundings:
    """Given to each job. While a job is replayed it has others, that touch nothing (:mod:`pliant.control.replay`)."""

    keep_event: Callable[[str, Event], None]
    """A new or completed event of the job with this id: into the journal, and to followers of the stream."""
    next_seq: Callable[[], int]
    keep_end: Callable[[str, JobStatus, Report], None]
    """The job with this id is over."""
    home: Path | None = None
    """Where jobs may leave files (TensorBoard's); None: nowhere."""
    die: Callable[[], None] = lambda: None
    """A plan wants the coordinator killed, when what it has said so far is written and sent."""
    choose_checkpoint: Callable[[str, str], None] = lambda *_: None
    """Look for the newest good checkpoint of the job with this id, in this directory; the answer is an input."""
