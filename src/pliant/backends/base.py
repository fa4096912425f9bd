"""The protocol of something that starts workers on one node, and sees them end."""

from __future__ import annotations

from typing import Protocol

from pliant.config import WorkerSpec
from pliant.processes import ProcessState


class WorkerProcess(Protocol):
    """One worker process that was started by a :class:`Backend`."""

    @property
    def worker(self) -> str:
        """The worker's id."""

    @property
    def device(self) -> str:
        """The GPU that it was given; empty for none."""

    @property
    def pid(self) -> int:
        """Its process id, which is its process group as well."""

    def signal(self, number: int) -> None:
        """Send a signal to the process itself. Nothing happens when it is gone."""

    def probe(self) -> ProcessState:
        """What it is doing right now."""

    def end_group(self) -> None:
        """SIGKILL to everything in its process group. Nothing happens when the group is empty."""

    async def wait(self) -> int:
        """Wait for its end.

        Returns:
            The exit code, negative for a signal; UNKNOWN_EXIT when it could not be learnt.
        """


class Backend(Protocol):
    """Starts workers on this node. One agent owns one backend."""

    def warm(self) -> None:
        """Prepare, without waiting, so that the first worker starts fast."""

    def start(self, spec: WorkerSpec) -> WorkerProcess:
        """Start a worker. Blocks until the process exists: call it from a thread.

        Raises:
            WorkerStartError: No process exists afterwards.
        """

    def adopt(self, worker: str, *, pid: int, device: str) -> WorkerProcess:
        """Look after a worker that another agent's backend has started, and that has outlived that agent.

        Raises:
            WorkerStartError: There is no such process (any more), or it is no worker.
        """

    def forget(self, worker: str) -> None:
        """``worker`` is gone: what it held (a GPU) is free."""


class WorkerStartError(Exception):
    """A worker process could not be started; no process of it is left."""
