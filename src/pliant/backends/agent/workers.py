"""The worker processes of one agent: started in order, watched until their end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pliant.backends.agent.memory import OutOfMemoryWatch
from pliant.backends.base import Backend, WorkerProcess, WorkerStartError
from pliant.config import WorkerSpec
from pliant.processes import ProcessState
from pliant.wire.agent_messages import UNKNOWN_EXIT, WorkerExited, WorkerProbed, WorkerStarted


class Workers:
    """Starts, signals and watches workers, and reports each start and end exactly once.

    Args:
        backend: What makes the processes.
        report: Called in the event loop with :class:`WorkerStarted` and :class:`WorkerExited`, in that order for
            one worker.
    """

    def __init__(self, backend: Backend, report: Callable[[WorkerStarted | WorkerExited], None]) -> None:
        self._backend = backend
        self._report = report
        self._alive: dict[str, WorkerProcess] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._up: dict[str, asyncio.Event] = {}
        self._memory = OutOfMemoryWatch()
        # One thread: starts stay in order, and multiprocessing is entered by one thread only.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="start-worker")

    @property
    def pids(self) -> dict[str, int]:
        """Worker id to pid, of those alive."""
        return {worker: process.pid for worker, process in self._alive.items()}

    @property
    def busy(self) -> bool:
        """Whether any worker is alive or being started."""
        return bool(self._tasks)

    def start(self, spec: WorkerSpec) -> None:
        """Begin to start a worker. A second request for the same id is ignored."""
        self._look_after(spec.worker, lambda: self._backend.start(spec))

    def adopt(self, worker: str, *, pid: int, device: str) -> None:
        """Look after a worker of an earlier agent. One that is gone is reported as ended."""
        self._look_after(worker, lambda: self._backend.adopt(worker, pid=pid, device=device))

    def _look_after(self, worker: str, begin: Callable[[], WorkerProcess]) -> None:
        if worker in self._tasks:
            print(f"worker {worker} runs already; not started again", file=sys.stderr, flush=True)
            return
        self._up[worker] = asyncio.Event()
        self._tasks[worker] = asyncio.create_task(self._live(worker, begin), name=f"watch-{worker}")

    async def signal(self, worker: str, number: int) -> None:
        """Send a signal to a worker; waits until it exists. Unknown and ended workers are left alone."""
        if worker in self._up:
            await self._up[worker].wait()
        if worker in self._alive:
            self._alive[worker].signal(number)

    def probe(self, worker: str) -> WorkerProbed:
        """What the worker's process is doing right now."""
        process = self._alive.get(worker)
        state = ProcessState(exists=False) if process is None else process.probe()
        return WorkerProbed(worker=worker, exists=state.exists, stopped=state.stopped, cpu_s=state.cpu_s)

    def signal_all(self, number: int) -> None:
        """Send a signal to every worker that exists."""
        for process in self._alive.values():
            process.signal(number)

    async def end(self, grace_s: float) -> None:
        """Wait ``grace_s`` seconds for all workers to end, then SIGKILL the rest; returns when none is left."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace_s)
        while self._tasks:
            for process in self._alive.values():
                process.signal(signal.SIGKILL)
                process.end_group()
            # A worker that is being forked right now comes into ``_alive`` later: look again.
            await asyncio.wait(self._tasks.values(), timeout=0.1)

    async def _live(self, worker: str, begin: Callable[[], WorkerProcess]) -> None:
        process: WorkerProcess | None = None
        code = UNKNOWN_EXIT
        try:
            loop = asyncio.get_running_loop()
            process = await loop.run_in_executor(self._thread, begin)
            self._alive[worker] = process
            self._report(WorkerStarted(worker=worker, pid=process.pid, device=process.device))
            self._up[worker].set()
            code = await process.wait()
        except WorkerStartError as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            self._up.pop(worker).set()
            self._alive.pop(worker, None)
            self._tasks.pop(worker, None)
            if process is not None:
                process.end_group()
            self._backend.forget(worker)
            pid = process.pid if process else 0
            starved = code in (-signal.SIGKILL, UNKNOWN_EXIT) and self._memory.struck()
            self._report(WorkerExited(worker=worker, pid=pid, exit_code=code, out_of_memory=starved))
