"""Workers on this machine, forked from a template process that has torch imported.

The template is the standard library's forkserver with a preload module. It and its workers are *not* tied
to the life of the process that asked for them: when the agent is killed, training goes on. (So no
``PR_SET_PDEATHSIG``: it would tie workers to the template.) Nothing lingers for ever either: the template ends
when the agent and all of its forks are gone, because they hold the other end of a pipe, and a worker that has
lost its coordinator for long ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing import context, forkserver, get_context
from pathlib import Path

from pliant.backends.base import WorkerStartError
from pliant.backends.child import DEFAULT_ENTRY, run_child
from pliant.backends.devices import Devices
from pliant.config import WorkerSpec
from pliant.processes import ProcessState, process_state
from pliant.wire.agent_messages import UNKNOWN_EXIT

PRELOAD = ("pliant.no_gc", "pliant.training.preload")
"""What the template imports, in this order: the first turns the garbage collector off, the second on again."""


class AdoptedWorker:
    """A worker process that somebody else has started. How it ends cannot be learnt, only when."""

    def __init__(self, worker: str, pid: int, device: str) -> None:
        self.worker, self.pid, self.device = worker, pid, device

    def signal(self, number: int) -> None:
        """Send a signal to the process itself. Nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def probe(self) -> ProcessState:
        """What it is doing right now."""
        return process_state(self.pid)

    def end_group(self) -> None:
        """SIGKILL to everything in its process group. Nothing happens when the group is empty."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end, without polling."""
        await _gone(self.pid)
        return UNKNOWN_EXIT


class LocalWorker(AdoptedWorker):
    """A worker process of this agent's template. Its exit code comes through the template, which is its parent."""

    def __init__(self, worker: str, process: context.ForkServerProcess, device: str) -> None:
        assert process.pid is not None
        super().__init__(worker, process.pid, device)
        self._process = process

    async def wait(self) -> int:
        """Wait for its end, without polling.

        When the template is killed, the exit code cannot be learnt any more; the process itself can still be
        watched, so this then waits for its real end and returns 255.
        """
        await _readable(self._process.sentinel)
        code = self._process.exitcode
        if code is None or code == UNKNOWN_EXIT:
            await _gone(self.pid)
            code = UNKNOWN_EXIT
        return code


class LocalBackend:
    """Starts workers by forking a template process.

    Args:
        entry: ``module:function`` to call in the worker.
        preload: Modules that the template imports before its first fork.
        gpus: Values for ``CUDA_VISIBLE_DEVICES``, dealt to the workers.
    """

    def __init__(
        self, *, entry: str = DEFAULT_ENTRY, preload: Sequence[str] = PRELOAD, gpus: Sequence[str] = ()
    ) -> None:
        self._entry = entry
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        self._devices = Devices(gpus)

    def warm(self) -> None:
        """Start the template. It imports in the background; a worker asked for meanwhile waits for it."""
        forkserver.ensure_running()

    def start(self, spec: WorkerSpec) -> LocalWorker:
        """Fork a worker; blocks while the template is still importing (seconds), else for milliseconds.

        Raises:
            WorkerStartError: The template died while it was asked. A later call starts a new template.
        """
        environment: Mapping[str, str] = self._devices.take(spec.worker)
        # Not a daemon: a daemonic process may not have children, and data loaders start some.
        process = self._context.Process(
            target=run_child, args=(spec, self._entry, environment), name=spec.worker, daemon=False
        )
        try:
            process.start()
        except (OSError, EOFError) as error:
            self._devices.give_back(spec.worker)
            raise WorkerStartError(f"worker {spec.worker} could not be forked: {error!r}") from error
        return LocalWorker(spec.worker, process, environment.get("CUDA_VISIBLE_DEVICES", ""))

    def adopt(self, worker: str, *, pid: int, device: str) -> AdoptedWorker:
        """Look after a worker that an earlier agent's template has forked.

        Raises:
            WorkerStartError: The process is gone, or its number belongs to another one by now.
        """
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError as error:
            raise WorkerStartError(f"worker {worker} (pid {pid}) is gone") from error
        if b"multiprocessing" not in command:
            raise WorkerStartError(f"pid {pid} is not worker {worker}: {command!r}")
        self._devices.hold(worker, device)
        return AdoptedWorker(worker, pid, device)

    def forget(self, worker: str) -> None:
        """``worker`` is gone: its GPU is free."""
        self._devices.give_back(worker)


async def _readable(descriptor: int) -> None:
    """Wait until ``descriptor`` can be read (or its other end is closed)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def _gone(pid: int) -> None:
    """Wait until the process, which need not be a child, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await _readable(descriptor)
    finally:
        os.close(descriptor)
