"""A ``pliant run`` in the background: started, looked at, waited for, and seen to its end."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from pliant.errors import CoordinatorError
from pliant.testing.launch import Launch, pliant
from pliant.testing.processes import processes_with
from pliant.testing.result import Result
from pliant.testing.waiting import wait_until
from pliant.wire.api import Event, JobStatus, Report, ServerStatus, WorkerStatus
from pliant.wire.http import Client

Value = TypeVar("Value")

MARK = "PLIANT_TESTING_JOB"
"""In the environment of everything that a job starts, so that nothing of it is overlooked."""
END_WAIT_S = 20.0
_TAIL_CHARACTERS = 6000
_NOT_FOUND = 404
_STOPPED = 5
_OVER = ("finished", "stopped", "failed")


class Place(Protocol):
    """What a job has to know of its :class:`pliant.testing.lab.Lab`."""

    environment: dict[str, str]
    deadline_s: float

    def ask(self, call: Callable[[Client], Value]) -> Value:
        """One call to the coordinator."""
        ...

    def kill_coordinator(self) -> int:
        """SIGKILL to the coordinator; returns its pid."""
        ...


class WatchedJob:
    """One job, started by the constructor. For one thread."""

    def __init__(self, lab: Place, launch: Launch) -> None:
        self.lab, self.launch, self.name = lab, launch, launch.name
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        words = pliant(*launch.words())
        name, _, value = self._mark.partition("=")
        with launch.file("stdout").open("wb") as stdout, launch.file("stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                words,
                env={**lab.environment, name: value},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    # ------------------------------------------------------------ looking

    def status(self) -> JobStatus | None:
        """What the coordinator says now; None before the job exists, and while no coordinator answers."""
        return self._look(lambda client: client.job(self.name))

    def events(self, *kinds: str) -> list[Event]:
        """What has happened to the job so far: all of it, or some kinds (``worker_lost``, ``workers_joined``, ...).

        Empty before the job exists, and while no coordinator answers.
        """
        found = self._look(lambda client: client.events(self.name)) or []
        return [event for event in found if not kinds or event.kind in kinds]

    def _look(self, call: Callable[[Client], Value]) -> Value | None:
        try:
            return self.lab.ask(call)
        except CoordinatorError as error:
            if error.status in (0, _NOT_FOUND):
                return None
            raise

    def output(self) -> str:
        """The end of what the command has printed so far."""
        paths = [self.launch.file(kind) for kind in ("stdout", "stderr")]
        return "\n".join(path.read_text(errors="replace")[-_TAIL_CHARACTERS:] for path in paths if path.exists())

    def processes(self) -> dict[int, str]:
        """Live processes of this job, ``pliant run`` included, the coordinator not: pid -> command line."""
        found = processes_with(self._mark)
        return {pid: words for pid, words in found.items() if "pliant.control.coordinator" not in words}

    # ------------------------------------------------------------ waiting

    def wait(self, condition: Callable[[JobStatus], Value | None], what: str) -> Value:
        """Wait for something that the status shows; returns its value. While no coordinator answers, it waits on.

        Raises:
            AssertionError: The job ended before, or the deadline passed; with the end of the job's output.
        """

        def look() -> Value | None:
            status = self.status()
            if status is None:
                if self.process.poll() is not None:
                    raise AssertionError(f"`pliant run` ended before: {what}\n{self.output()}")
                return None
            value = condition(status)
            if not value and status.state in _OVER:
                raise AssertionError(f"the job {self.name} was {status.state} before: {what}\n{self.output()}")
            return value

        where = f"{what} (job {self.name}, files in {self.launch.directory})"
        return wait_until(look, where, deadline_s=self.lab.deadline_s)

    def wait_step(self, step: int) -> None:
        """Wait until so many steps are committed."""
        self.wait(lambda status: status.step >= step, f"{step} steps are committed")

    def wait_workers(self, count: int) -> list[WorkerStatus]:
        """Wait until exactly ``count`` workers train in one generation and no other exists; returns them by rank."""

        def look(status: JobStatus) -> list[WorkerStatus] | None:
            by_rank = {worker.rank: worker for worker in status.workers if worker.rank is not None}
            settled = len(status.workers) == count and sorted(by_rank) == list(range(count))
            training = all(worker.state == "training" for worker in status.workers)
            return [by_rank[rank] for rank in range(count)] if settled and training else None

        return self.wait(look, f"{count} workers train")

    def wait_event(self, kind: str, *, count: int = 1) -> list[Event]:
        """Wait until this has happened ``count`` times; returns these events."""
        return self.wait(
            lambda _: found if len(found := self.events(kind)) >= count else None, f"{count} events {kind}"
        )

    def worker(self, name: str) -> WorkerStatus:
        """Wait until this worker has a process; returns its status."""
        return self.wait(lambda s: next((w for w in s.workers if w.worker == name and w.pid), None), f"{name} is there")

    def wait_servers(self, count: int) -> list[ServerStatus]:
        """Wait until exactly ``count`` parameter servers have all that they should hold, and no other exists."""

        def look(status: JobStatus) -> list[ServerStatus] | None:
            servers = status.servers
            serving = all(server.state == "serving" for server in servers)
            return servers if len(servers) == count == status.target_servers and serving else None

        return self.wait(look, f"{count} servers serve")

    def process_of(self, name: str) -> int:
        """Wait until this worker or parameter server has a process; returns its pid."""

        def look(status: JobStatus) -> int | None:
            pids = {worker.worker: worker.pid for worker in status.workers}
            pids |= {server.server: server.pid for server in status.servers}
            return pids.get(name)

        return self.wait(look, f"{name} is there")

    # ------------------------------------------------------------ the end

    def stop(self) -> Result:
        """Stop the job at its next step boundary, and wait for its end."""
        self.lab.ask(lambda client: client.stop(self.name))
        return self.end(_STOPPED)

    def end(self, exit_code: int = 0) -> Result:
        """Wait until ``pliant run`` ends by itself, and see that nothing of it is left.

        Args:
            exit_code: What it has to be: 0 finished, 3 the script raised, 4 the job was lost, 5 stopped.

        Raises:
            AssertionError: It is another one, or a process outlives the job; with the end of the output.
        """
        ended = wait_until(
            lambda: self.process.poll() is not None, f"`pliant run` of {self.name} ends", deadline_s=self.lab.deadline_s
        )
        if ended and self.process.returncode != exit_code:
            raise AssertionError(f"exit code {self.process.returncode}, not {exit_code}\n{self.output()}")
        self.assert_no_process()
        report = self.launch.file("json")
        return Result(
            exit_code=exit_code,
            output=self.launch.file("stdout").read_text(errors="replace"),
            errors=self.launch.file("stderr").read_text(errors="replace"),
            report=msgspec.json.decode(report.read_bytes(), type=Report) if report.exists() else None,
        )

    def abandon(self) -> None:
        """Kill ``pliant run`` if it is still there; the job itself goes on until its coordinator ends it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def assert_no_process(self, *, but: int = 0) -> None:
        """Agent, template and workers are gone within 20 s; ``but``: a pid that may live on."""
        end_s = time.monotonic() + END_WAIT_S
        while left := {pid: words for pid, words in self.processes().items() if pid != but}:
            if time.monotonic() > end_s:
                raise AssertionError(f"processes outlive {self.name}: {left}")
            time.sleep(0.02)
