"""What the death and the addition of a server cost the workers of a long job: from its report.

The job trains on while its servers are killed, one after the other, and then a third and a fourth come and go. Each
event waits until the one before has had its effect, and until some steps have passed since.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.launch import end, pliant_home, read_report
from benchmarks.servers import jobs
from benchmarks.servers.accounts import ServerChange, changes_of
from benchmarks.servers.dense import SIZES
from benchmarks.workload import build
from pliant.errors import CoordinatorError
from pliant.wire.api import JobStatus, Report
from pliant.wire.http import Client

NAME = "recovery"
SERVERS = 2
"""At the beginning."""
CYCLE = ((3, "servers_joined"), (4, "servers_joined"), (3, "server_left"), (2, "server_left"))
"""How many servers are asked for, and what tells that they are there."""
OPTIONS = (
    "--workers",
    "2",
    "--strategy",
    "parameter-server",
    "--servers",
    f"{SERVERS}:{SERVERS + 2}",
    "--deal",
    "even",
)
SHARDS = 8
STEPS = 100_000
"""More than there will be: the job is stopped when all has happened."""
SLOT_BYTES = 4 * 4
"""For each parameter: itself, AdamW's two moments, and the gradient of the pass that comes."""
WARM_UP = 20
LIMIT_S, POLL_S = 180.0, 0.1
STOPPED = 5
"""Exit code of ``pliant run``."""


@dataclass(frozen=True)
class Drill:
    """A job of 2 workers and 2 servers, and what happens to it."""

    model: str
    kills: int
    cycles: int
    calm_steps: int
    """Between events."""


def drills(*, quick: bool) -> list[Drill]:
    """A job for each model."""
    kills, cycles = (2, 1) if quick else (8, 5)
    return [Drill(model, kills, cycles, steps) for model, steps in (("mlp", 30), ("wide", 12))][: 1 if quick else None]


def measure(drill: Drill) -> list[ServerChange]:
    """Run it.

    Raises:
        RuntimeError: It failed, or an event had no effect in time; the end of its log was printed.
    """
    words = ["train.py", f"--model={drill.model}", f"--shards={SHARDS}", f"--per-shard={SIZES[drill.model].samples}"]
    with tempfile.TemporaryDirectory(prefix="pliant-servers-") as name, pliant_home() as env:
        directory = Path(name, "job")
        directory.mkdir()
        process = jobs.start(env, directory, name=NAME, options=OPTIONS, words=[*words, f"--steps={STEPS}"])
        try:
            report = _disturb(process, lambda: jobs.client_of(env), Path(name, f"{NAME}.json"), drill)
        except BaseException:
            print((directory / "log").read_text(errors="replace")[-3000:], flush=True)
            raise
        finally:
            end([process])
    parameters = sum(value.numel() for value in build(drill.model, samples=1).model.parameters())
    return changes_of(report, model=drill.model, servers=SERVERS, state_bytes=parameters * SLOT_BYTES)


def _disturb(process: subprocess.Popen[bytes], connect: Callable[[], Client], report: Path, drill: Drill) -> Report:
    with closing(_Job(process, connect)) as job:
        job.wait("training has begun", lambda status: status.step >= WARM_UP)
        for count in range(1, drill.kills + 1):
            job.kill_server()
            job.wait_event("slots_restored", count)
            job.pass_steps(drill.calm_steps)
        print(f"    {drill.kills} servers were killed", flush=True)
        for wanted, kind in CYCLE * drill.cycles:
            before = job.count(kind)
            job.client.scale(NAME, servers=wanted)
            job.wait_event(kind, before + 1)
            job.pass_steps(drill.calm_steps)
        job.client.stop(NAME)
    if process.wait(LIMIT_S) not in (0, STOPPED):
        raise RuntimeError(f"`pliant run` ended with exit code {process.returncode}")
    return read_report(report)


class _Job:
    """A running one, seen through its coordinator."""

    def __init__(self, process: subprocess.Popen[bytes], connect: Callable[[], Client]) -> None:
        self._process, self._connect = process, connect
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Connects when it is first asked for."""
        self._client = self._client or self._connect()
        return self._client

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def kill_server(self) -> None:
        """SIGKILL to the newest."""
        newest = max(self.client.job(NAME).servers, key=lambda server: int(server.server[1:]))
        assert newest.pid is not None
        os.kill(newest.pid, signal.SIGKILL)

    def count(self, kind: str) -> int:
        """How often this has happened."""
        return sum(event.kind == kind for event in self.client.events(NAME))

    def wait_event(self, kind: str, count: int) -> None:
        """Until this has happened so often, and all servers hold what they should."""
        self.wait(f"{count} events {kind}", lambda status: self.count(kind) >= count and _at_rest(status))

    def pass_steps(self, steps: int) -> None:
        """Some quiet ones."""
        first = self.client.job(NAME).step
        self.wait(f"{steps} steps", lambda status: status.step >= first + steps)

    def wait(self, what: str, condition: Callable[[JobStatus], bool]) -> None:
        """Until the status shows it; raises RuntimeError if it does not in time."""
        end_s = time.monotonic() + LIMIT_S
        while time.monotonic() < end_s and self._process.poll() is None:
            with suppress(CoordinatorError):  # before there is a coordinator, and the job in it
                if condition(self.client.job(NAME)):
                    return
            time.sleep(POLL_S)
        raise RuntimeError(f"waited {LIMIT_S:.0f} s in vain: {what}; exit code {self._process.poll()}")


def _at_rest(status: JobStatus) -> bool:
    holding = [server for server in status.servers if server.state == "serving" and not server.filling]
    return len(holding) == len(status.servers) == status.target_servers
