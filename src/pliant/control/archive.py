"""A job that an earlier coordinator ran, as far as the journal has kept it."""

from __future__ import annotations

import msgspec

from pliant.control.journal import Journal, KeptJob
from pliant.errors import CoordinatorError
from pliant.wire.api import Event, JobStatus, Report


class ArchivedJob:
    """Answers the questions about a job that is over. Same calls as :class:`~pliant.control.job.Job`."""

    over = True

    def __init__(self, job: str, status: JobStatus, journal: Journal) -> None:
        """``job``: its id in the journal."""
        self._job = job
        self._status = status
        self._journal = journal

    def status(self) -> JobStatus:
        """The final one."""
        return self._status

    def report(self) -> Report:
        """The final one.

        Raises:
            CoordinatorError: 404: there is none, because the coordinator ended while the job ran.
        """
        report = self._journal.report(self._job)
        if report is None:
            text = f"job {self._status.name} has no report: {self._status.error or 'none was kept'}"
            raise CoordinatorError(text, status=404)
        return report

    def events(self, *, after: int = 0) -> list[Event]:
        """Events with a larger ``seq``."""
        return self._journal.events(self._job, after=after)

    def scale(self, workers: int | None, servers: int | None) -> None:
        """Refused: it is over."""
        to = str(workers) if servers is None else f"{servers} servers"
        text = f"job {self._status.name} is {self._status.state}: it cannot be scaled to {to} any more"
        raise CoordinatorError(text, status=409)

    def stop(self, *, now: bool) -> None:
        """Nothing to stop, ``now`` or later."""


def lost_status(kept: KeptJob, *, error: str) -> JobStatus:
    """The final status of a job whose coordinator ended before it did, and whose journal cannot be replayed."""
    spec = kept.spec
    status = JobStatus(
        name=kept.name,
        state="failed",
        script=spec.script,
        step=0,
        total_steps=None,
        epoch=0,
        epochs=None,
        loss=None,
        steps_per_s=None,
        samples=0,
        shards=None,
        generation=0,
        target_workers=spec.start_workers,
        min_workers=spec.min_workers,
        max_workers=spec.max_workers,
        started_s=0.0,
        workers=[],
    )
    return msgspec.structs.replace(status, error=error, failure="lost")
