"""Follows one job that this command started: shows it, passes Ctrl-C on, and ends with its exit code."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine

from pliant.backends.coordinator_process import ensure_coordinator, tail
from pliant.cli import exit_codes
from pliant.cli.checkpoints import newest_checkpoint, step_of
from pliant.cli.output import note, print_json
from pliant.cli.report_files import write_report
from pliant.cli.run_options import RunOptions
from pliant.cli.stream import Away, follow
from pliant.cli.worker_logs import WorkerLogs
from pliant.config import Home
from pliant.dashboard.staleness_text import promises
from pliant.dashboard.summary import summary
from pliant.dashboard.view import View
from pliant.dashboard.words import is_over, main_worker
from pliant.errors import CoordinatorError
from pliant.timeouts import Timeouts
from pliant.wire.address import last_address
from pliant.wire.api import JobSpec, JobStatus, Report
from pliant.wire.http import Client

TAIL_EVERY_S = 0.1
END_DEADLINE_S = 15.0
"""After the job's end its agent has this long to end its processes; after "stop now", the job has it to end."""
AWAY_DEADLINE_S = 30.0
_KEPT_LINES = 300


class RunSession:
    """One ``pliant run``, from the moment the job exists. Runs in the event loop of the main thread."""

    def __init__(
        self, home: Home, options: RunOptions, *, spec: JobSpec, agent: subprocess.Popen[bytes], view: View
    ) -> None:
        self._home = home
        self._options = options
        self._spec = spec
        self._agent = agent
        self._view = view
        self._logs = WorkerLogs(home.job(spec.name))
        self._status: JobStatus | None = None
        self._main = "w1"
        self._printed: dict[str, deque[str]] = {}
        self._interrupts = 0
        self._over = asyncio.Event()
        self._agent_gone = asyncio.Event()
        self._detached: signal.Signals | None = None
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Follow the job to its end. Returns the exit code of the command."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._detach, number)
        self._watch_agent(loop)
        self._view.start()
        self._view.note(Timeouts(self._spec.patience_s).summary())
        if self._spec.staleness is not None:
            self._view.note(promises(self._spec.staleness))
        try:
            self._spawn(self._follow())
            self._spawn(self._tail())
            self._spawn(self._mind_agent())
            await self._over.wait()
            if self._detached is None:
                await self._settle()
        finally:
            for task in list(self._tasks):
                task.cancel()
            self._view.close()
        if self._failure is not None:
            raise self._failure
        if self._detached is not None:
            note(f"{self._detached.name}: the job goes on; `pliant stop {self._spec.name}` stops it")
            return 128 + self._detached
        return await asyncio.to_thread(self._conclude)

    # ------------------------------------------------------------ what is followed

    async def _follow(self) -> None:
        away: asyncio.TimerHandle | None = None
        try:
            async for item in follow(self._home, self._spec.name, patience_s=self._spec.patience_s):
                if isinstance(item, Away):
                    self._view.note(f"the coordinator is away ({item.why}); training goes on without it")
                    away = asyncio.get_running_loop().call_later(AWAY_DEADLINE_S, self._over.set)
                    self._spawn(self._start_coordinator())
                    continue
                if away is not None:
                    away.cancel()
                if item.event is not None:
                    self._view.event(item.event)
                if item.status is not None:
                    self._take(item.status)
        except CoordinatorError as error:
            self._view.note(str(error))
            self._over.set()

    async def _start_coordinator(self) -> None:
        """After its death, not after its end (`pliant down`). Usually the agent was first; it may be gone as well."""
        if last_address(self._home) is None:
            return
        try:
            await asyncio.to_thread(ensure_coordinator, self._home)
        except CoordinatorError as error:
            self._view.note(f"another coordinator could not be started: {error}")

    def _take(self, status: JobStatus) -> None:
        self._status = status
        self._main = main_worker(status) or self._main
        self._view.status(status)
        if is_over(status):
            self._over.set()

    async def _tail(self) -> None:
        while True:
            self._show(self._logs.poll())
            await asyncio.sleep(TAIL_EVERY_S)

    def _show(self, lines: list[tuple[str, str]]) -> None:
        for worker, text in lines:
            self._printed.setdefault(worker, deque(maxlen=_KEPT_LINES)).append(text)
            self._view.line(None if worker == self._main else worker, text)

    # ------------------------------------------------------------ the agent

    def _watch_agent(self, loop: asyncio.AbstractEventLoop) -> None:
        def wait() -> None:
            self._agent.wait()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._agent_gone.set)

        # A daemon: when this command is done while the agent lives on, nobody waits for it.
        threading.Thread(target=wait, name="wait-for-agent", daemon=True).start()

    async def _mind_agent(self) -> None:
        """An agent that ends before its job can start no more workers: with no worker left, the job is lost."""
        await self._agent_gone.wait()
        await asyncio.sleep(TAIL_EVERY_S)
        status = await self._ask(lambda client: client.job(self._spec.name))
        if status is None or is_over(status):
            return
        if (self._agent.returncode or 0) <= 0:
            return  # killed: the coordinator starts another one; told to end: so does the job
        log = self._home.job(self._spec.name) / "agent.log"
        self._view.note(f"the job's agent ended early (exit code {self._agent.returncode})\n{tail(log)}")
        if not any(worker.rank is not None for worker in status.workers):
            await self._ask(lambda client: client.stop(self._spec.name, now=True))

    # ------------------------------------------------------------ Ctrl-C and the end

    def _interrupted(self) -> None:
        self._interrupts += 1
        name = self._spec.name
        if self._interrupts == 1:
            self._view.note("Stopping at the next step boundary. Ctrl-C again stops at once.")
            self._spawn(self._stop(now=False))
        elif self._interrupts == 2:
            self._view.note("Stopping at once.")
            self._spawn(self._stop(now=True))
            asyncio.get_running_loop().call_later(END_DEADLINE_S, self._over.set)
        else:
            self._view.note(f"Leaving; `pliant status {name}` shows what is left of the job.")
            self._agent.terminate()
            self._over.set()

    def _detach(self, number: signal.Signals) -> None:
        self._detached = signal.Signals(number)
        self._over.set()

    async def _stop(self, *, now: bool) -> None:
        await self._ask(lambda client: client.stop(self._spec.name, now=now))

    async def _settle(self) -> None:
        """The job is over: wait for its processes, then show what they still printed."""
        if self._status is not None and is_over(self._status) and self._interrupts < 3:
            try:
                await asyncio.wait_for(self._agent_gone.wait(), END_DEADLINE_S)
            except TimeoutError:
                self._view.note(f"the job's agent (pid {self._agent.pid}) has not ended; telling it to")
                self._agent.terminate()
        self._show(self._logs.drain())

    def _conclude(self) -> int:
        """Show how it ended and write the report. The view is closed. Blocking."""
        status, report = self._final()
        if self._interrupts >= 2:
            code = exit_codes.INTERRUPTED
        elif status is None or not is_over(status):
            note("error: the coordinator is gone, and with it the end of this job")
            note(f"  hint: its log is {self._home.path / 'coordinator.log'}")
            code = exit_codes.NOT_FOUND
        else:
            code = exit_codes.of_job(status)
            self._explain(status)
            self._point_to_checkpoint(status)
        if report is not None:
            self._hand_over(report)
        return code

    def _final(self) -> tuple[JobStatus | None, Report | None]:
        try:
            with Client.of(self._home) as client:
                return client.job(self._spec.name), client.report(self._spec.name)
        except CoordinatorError:
            return self._status, None

    def _explain(self, status: JobStatus) -> None:
        if status.state != "failed" or status.error is None:
            return
        lines = status.error.strip().splitlines()
        if status.failure == "script":
            if not self._was_printed(lines):
                note("\n".join(lines))
            note(f"error: {self._spec.script} raised {lines[-1] if lines else 'an exception'}")
        else:
            note("error: " + "\n".join(lines))
        note(f"  hint: the workers' logs are in {self._home.job(self._spec.name)}")

    def _point_to_checkpoint(self, status: JobStatus) -> None:
        newest = newest_checkpoint(self._spec.checkpoints) if status.state in ("stopped", "failed") else None
        if newest is not None and not self._options.quiet:
            note(f"  hint: `pliant resume {self._spec.name}` goes on from step {step_of(newest)}")

    def _was_printed(self, lines: list[str]) -> bool:
        """Whether one worker's output held these lines already."""
        text = "\n".join(lines)
        return any(text in "\n".join(printed) for printed in self._printed.values())

    def _hand_over(self, report: Report) -> None:
        options = self._options
        if not options.quiet:
            note(summary(report))
        if options.report is not None:
            for path in write_report(options.report, report, with_page=options.page, compared=options.compared):
                if not options.quiet:
                    note(f"  written      {path}")
        if options.json:
            print_json(report)
        sys.stdout.flush()

    async def _ask(self, call: Callable[[Client], JobStatus]) -> JobStatus | None:
        """One call to the coordinator, off the event loop. Its refusal or absence is shown, not raised."""

        def ask() -> JobStatus:
            with Client.of(self._home) as client:
                return call(client)

        try:
            return await asyncio.to_thread(ask)
        except CoordinatorError as error:
            self._view.note(str(error))
            return None

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._over.set()
