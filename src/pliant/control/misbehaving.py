"""Faults on purpose, asked for by whoever tests a script: a worker or server is told to be slow, or cut off."""

from __future__ import annotations

from math import isfinite

from pliant.control.job import Job
from pliant.errors import CoordinatorError
from pliant.wire.api import MisbehaveRequest
from pliant.wire.messages import Misbehave


def misbehave(job: Job, asked: MisbehaveRequest) -> None:
    """Tell a worker, and record it as an event.

    Raises:
        CoordinatorError: 404: there is no such worker; 409: it has ended, or the job is over; 422: nothing is asked
            for, or an impossible factor. Nothing changed.
    """
    name, worker = job.spec.name, asked.worker
    if job.over:
        raise CoordinatorError(f"job {name} is {job.state}: no worker is left to misbehave", status=409)
    record = job.process(worker)
    if record is None:
        known = ", ".join(record.name for record in job.processes() if not record.gone) or "none"
        raise CoordinatorError(f"job {name} has no worker {worker[:100]!r}; there are: {known}", status=404)
    if record.gone:
        raise CoordinatorError(f"{worker} of job {name} has ended: it cannot misbehave any more", status=409)
    if asked.slow is None and asked.isolated is None:
        raise CoordinatorError("nothing to do: give slow (a factor) or isolated (true or false)", status=422)
    if asked.slow is not None and not (isfinite(asked.slow) and asked.slow >= 1):
        raise CoordinatorError(f"slow = {asked.slow:g} is no factor: 1 is normal, 3 three times as slow", status=422)
    job.event("fault_requested", f"{worker} is to be {_describe(asked)}, as somebody asked")
    record.send(Misbehave(slow=asked.slow, isolated=asked.isolated))


def _describe(asked: MisbehaveRequest) -> str:
    parts = []
    if asked.slow is not None:
        parts.append("as fast as it can" if asked.slow == 1 else f"{asked.slow:g} times as slow")
    if asked.isolated is not None:
        parts.append("cut off from everybody" if asked.isolated else "connected again")
    return " and ".join(parts)
