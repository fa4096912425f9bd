"""The runs that ``pliant verify`` compares: real jobs, in a home directory of their own, with traces."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from pliant.backends.coordinator_process import ensure_coordinator
from pliant.cli.down import end_coordinator
from pliant.cli.run import start_job
from pliant.cli.run_options import RunOptions
from pliant.cli.run_session import RunSession
from pliant.cli.verify_traces import Run, read_run
from pliant.config import Home
from pliant.dashboard.plain import worker_line
from pliant.dashboard.words import is_over
from pliant.wire.api import Event, JobStatus, PlanEvent, Report
from pliant.wire.http import Client, await_coordinator

_KEPT_LINES = 40


@dataclass(frozen=True)
class Finished:
    """How one run ended."""

    code: int
    """As of ``pliant run``."""
    status: JobStatus
    report: Report
    run: Run
    output: tuple[str, ...]
    """The last lines that its workers printed."""

    def happened(self, *kinds: str) -> int:
        """How many workers met one of these events."""
        return sum(event.kind in kinds for event in self.report.events)


class Runs:
    """Starts one job after the other. Blocking."""

    def __init__(self, directory: Path, options: RunOptions) -> None:
        """``options``: of an undisturbed run. ``directory``: takes the home and the traces."""
        self._home = Home((directory / "home").absolute())
        self._directory, self._options = directory, options
        ensure_coordinator(self._home)

    def close(self) -> None:
        """End the coordinator, and a job that is left of a run which was broken off."""
        address = await_coordinator(self._home)
        if address is not None:
            with Client.of(self._home) as client:
                running = [job.name for job in client.list_jobs() if not is_over(job)]
            end_coordinator(self._home, address, running)

    def run(self, name: str, *, steps: int, workers: int = 1, plan: Sequence[PlanEvent] = ()) -> Finished:
        """Run the script for ``steps`` steps, beginning with up to two workers.

        Raises:
            ConfigError, CoordinatorError: It could not be started.
        """
        traces = (self._directory / f"traces-{name}").absolute()
        traces.mkdir(parents=True, exist_ok=True)
        spec = msgspec.structs.replace(
            self._options.spec,
            name=name,
            max_workers=workers,
            start_workers=min(2, workers),
            plan=list(plan),
            trace=str(traces),
            stop_after=steps,
            patient_plan=True,
            check_every=0,
            deal="even",  # by speed, a newcomer that is slow at first may get nothing to compute, and show nothing
        )
        options = replace(self._options, spec=spec, named=True)
        view = _Quiet()
        spec, agent = start_job(self._home, options)
        code = asyncio.run(RunSession(self._home, options, spec=spec, agent=agent, view=view).run())
        with Client.of(self._home) as client:
            status, report = client.job(spec.name), client.report(spec.name)
        return Finished(code, status, report, read_run(traces), tuple(view.lines))


class _Quiet:
    """A :class:`pliant.dashboard.view.View` that only remembers what was printed last."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def start(self) -> None:
        """Nothing to show."""

    def status(self, status: JobStatus) -> None:
        """Not shown."""

    def event(self, event: Event) -> None:
        """Not shown; the report has them."""

    def line(self, worker: str | None, text: str) -> None:
        """Kept, for a run that fails."""
        self.lines.append(worker_line(worker, text))

    def note(self, text: str) -> None:
        """Not shown."""

    def close(self) -> None:
        """Nothing to restore."""
