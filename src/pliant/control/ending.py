"""How a job ended, in words and in numbers. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliant.ids import WorkerId
from pliant.membership.events import Outcome
from pliant.wire.agent_messages import UNKNOWN_EXIT
from pliant.wire.api import FailureKind, JobState, JobStatus, Report
from pliant.wire.messages import WorkerFinished

_STATES: dict[Outcome, tuple[JobState, FailureKind | None]] = {
    "finished": ("finished", None),
    "stopped": ("stopped", None),
    "failed-script": ("failed", "script"),
    "failed-lost": ("failed", "lost"),
    "failed-config": ("failed", "config"),
    "failed-memory": ("failed", "memory"),
    "failed-diverged": ("failed", "diverged"),
}


@dataclass(frozen=True)
class End:
    """What an outcome means for the status."""

    state: JobState
    failure: FailureKind | None
    error: str | None
    weights_sha256: str | None
    final_loss: float | None

    @property
    def event_kind(self) -> str:
        """``job_finished``, ``job_stopped`` or ``job_failed``."""
        return f"job_{self.state}"

    @classmethod
    def of(cls, outcome: Outcome, reason: str, *, finished: Sequence[WorkerFinished]) -> End:
        """``finished``: the last words of the workers that ended the script."""
        state, failure = _STATES[outcome]
        last = finished[0] if finished and failure is None else None
        return cls(
            state=state,
            failure=failure,
            error=None if failure is None else reason,
            weights_sha256=last.weights_sha256 if last else None,
            final_loss=last.final_loss if last else None,
        )


@dataclass(frozen=True)
class Ending:
    """The final status and report of a job."""

    status: JobStatus
    report: Report


def weights_problem(finished: Mapping[WorkerId, WorkerFinished]) -> str | None:
    """What to say if workers ended with different weights; None if they agree. ``finished``: by worker."""
    holders: dict[str, list[str]] = {}
    for worker, message in finished.items():
        holders.setdefault(message.weights_sha256, []).append(worker)
    if len(holders) < 2:
        return None
    parts = "; ".join(f"{', '.join(workers)}: {digest[:16]}" for digest, workers in holders.items())
    return (
        f"workers ended with different weights ({parts}). Something in the script changes the model outside of "
        "the step's shards, for example state that depends on the worker"
    )


def too_many_workers(workers: int, shards: int) -> str:
    """What to say to more workers than shards."""
    extra = workers - shards
    return (
        f"{workers} workers are wanted but the loader has {shards} shards: {extra} of them would have nothing to "
        f"compute. Use at most {shards} workers, or give the Loader more shards (that changes the result)"
    )


def exit_text(exit_code: int) -> str:
    """How a process ended: ``killed by SIGKILL``, ``exit code 3``."""
    if exit_code == UNKNOWN_EXIT:
        return "ended, and nobody saw how"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
