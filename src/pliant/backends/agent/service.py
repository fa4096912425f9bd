"""The agent's life: obey the coordinator, report, and end when the job is over or nobody is left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass

from pliant.backends.agent.workers import Workers
from pliant.backends.base import Backend
from pliant.backends.coordinator_process import ensure_coordinator
from pliant.config import Home, WorkerSpec
from pliant.errors import PliantError
from pliant.wire.address import agents_url
from pliant.wire.agent_messages import (
    AdoptWorker,
    AgentHello,
    AgentLeaving,
    CoordinatorToAgent,
    ProbeWorker,
    Role,
    SignalWorker,
    StartWorker,
    StopAgent,
    WorkerExited,
    WorkerStarted,
)
from pliant.wire.codec import TO_AGENT
from pliant.wire.socket import ControlSocket
from pliant.wire.token import read_token

SIGNAL_GRACE_S = 5.0
"""After SIGTERM to the agent its workers get SIGTERM, and this long to go."""
CHECK_S = 0.5
LONGEST_RESTART_DELAY_S = 30.0
SERVED_LONELY_S = 2.0
"""As ``lonely_s``, for an agent whose workers have all ended: its job is over, and it must not be there any more
when another job of the same name comes to another coordinator."""


@dataclass(frozen=True)
class AgentOptions:
    """What one agent is for."""

    home: Home
    job: str
    script: str
    args: tuple[str, ...]
    threads: int = 1
    launch: str = ""
    lonely_s: float = 60.0
    """Without workers and without a coordinator that accepts it, an agent ends after so many seconds."""


class Agent:
    """One job's agent on this node. Runs in the event loop of the process's main thread."""

    def __init__(self, options: AgentOptions, backend: Backend) -> None:
        self._options = options
        self._backend = backend
        self._over = asyncio.Event()
        self._grace_s = SIGNAL_GRACE_S
        self._exit_code = 0
        self._connections = 0
        self._served = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until told to stop; all worker processes are gone afterwards.

        Returns:
            0, or 1 if the coordinator was lost while there was no worker.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminated, signal.Signals(number).name)
        self._backend.warm()

        def from_thread(message: CoordinatorToAgent) -> None:
            loop.call_soon_threadsafe(self._obey, message)

        token = read_token(self._options.home.token)
        self._workers = Workers(self._backend, self._report)
        self._socket: ControlSocket[CoordinatorToAgent] = ControlSocket(
            agents_url(self._options.home), token, self._hello, from_thread, decoder=TO_AGENT
        )
        self._socket.start()
        watching = [
            asyncio.create_task(self._leave_when_lonely(), name="lonely"),
            asyncio.create_task(self._keep_coordinator(), name="keep-coordinator"),
        ]
        await self._over.wait()
        for task in watching:
            task.cancel()
        await self._workers.end(self._grace_s)
        await asyncio.to_thread(self._socket.close)
        return self._exit_code

    def _hello(self) -> AgentHello:
        """Called on the socket's thread for each connection; copies, so that the loop may go on."""
        self._connections += 1
        return AgentHello(
            job=self._options.job,
            node=socket.gethostname(),
            pid=os.getpid(),
            workers=dict(self._workers.pids),
            launch=self._options.launch,
        )

    def _report(self, message: WorkerStarted | WorkerExited) -> None:
        self._socket.send(message)

    def _obey(self, message: CoordinatorToAgent) -> None:
        if self._over.is_set():
            return
        match message:
            case StartWorker(worker=worker, role=role):
                self._served = True
                self._workers.start(self._spec(worker, role))
            case AdoptWorker(worker=worker, pid=pid, device=device):
                self._served = True
                self._workers.adopt(worker, pid=pid, device=device)
            case ProbeWorker(worker=worker):
                self._socket.send(self._workers.probe(worker))
            case SignalWorker(worker=worker, signal=number):
                task = asyncio.create_task(self._workers.signal(worker, number))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case StopAgent(grace_s=grace_s):
                self._grace_s = grace_s
                self._over.set()

    def _spec(self, worker: str, role: Role) -> WorkerSpec:
        options = self._options
        return WorkerSpec(
            job=options.job,
            worker=worker,
            script=options.script,
            args=options.args,
            home=str(options.home.path),
            log=str(options.home.job(options.job) / f"{worker}.log"),
            threads=options.threads,
            launch=options.launch,
            role=role,
        )

    def _terminated(self, name: str) -> None:
        if self._over.is_set():
            self._workers.signal_all(signal.SIGKILL)
            return
        _say(f"{name}: ending the workers")
        self._socket.send(AgentLeaving(reason=name))
        self._workers.signal_all(signal.SIGTERM)
        self._over.set()

    async def _leave_when_lonely(self) -> None:
        """End an agent that nobody needs: its coordinator was lost, or refuses it, and it has no worker."""
        needed_s = time.monotonic()
        seen = -1
        while True:
            await asyncio.sleep(CHECK_S)
            accepted = self._socket.connected and self._connections == seen
            seen = self._connections
            if accepted or self._workers.busy:
                needed_s = time.monotonic()
            elif time.monotonic() - needed_s > self._patience_s():
                _say(f"no worker, and no coordinator for {self._patience_s():g} s: ending")
                self._exit_code = 1
                self._over.set()
                return

    async def _keep_coordinator(self) -> None:
        """Start the coordinator again if it has died while there are workers: they train on, but nobody can join."""
        delay_s = CHECK_S
        while True:
            await asyncio.sleep(delay_s)
            if self._socket.connected or not self._workers.busy:
                delay_s = CHECK_S
                continue
            try:
                address, started = await asyncio.to_thread(ensure_coordinator, self._options.home)
            except PliantError as error:
                _say(f"the coordinator is gone, and another one could not be started: {error}")
                delay_s = min(2 * delay_s, LONGEST_RESTART_DELAY_S)
            else:
                if started:
                    _say(f"the coordinator was gone; started another one (pid {address.pid})")

    def _patience_s(self) -> float:
        return min(self._options.lonely_s, SERVED_LONELY_S) if self._served else self._options.lonely_s


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
