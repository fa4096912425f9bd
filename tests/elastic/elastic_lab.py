"""Jobs through the public command line: started, watched, and disturbed with real signals."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elastic_books import Trace, read_traces

from pliant.config import Home
from pliant.errors import CoordinatorError
from pliant.wire.api import Event, JobStatus, WorkerStatus
from pliant.wire.http import Client

DEADLINE_S = 120.0
SCRIPTS = Path(__file__).parent / "scripts"
MARK = "ELASTIC_TEST_MARK"


def wait_until(condition: Callable[[], object], what: str, *, deadline_s: float = DEADLINE_S):
    """Wait for a named condition; returns its value."""
    end_s = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end_s, f"waited {deadline_s:g} s in vain: {what}"
        time.sleep(0.01)
    return value


def processes_with(setting: str) -> dict[int, str]:
    """Live processes that have ``NAME=value`` in their environment, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if setting.encode() not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            if "State:\tZ" in (entry / "status").read_text():
                continue
            found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@dataclass(frozen=True)
class Ended:
    """What a ``pliant run`` left behind."""

    code: int
    out: str
    error: str
    report: dict
    trace: Trace

    @property
    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.report["events"]]

    def events(self, kind: str) -> list[dict]:
        return [event for event in self.report["events"] if event["kind"] == kind]


class Lab:
    """One home directory with one coordinator."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "PLIANT_HOME": str(home), "COLUMNS": "200"}
        self.jobs: list[RunningJob] = []
        self._client: Client | None = None

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a verb of ``pliant`` to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    @property
    def client(self) -> Client:
        """The HTTP API."""
        if self._client is None:
            self._client = Client.of(Home(self.home))
        return self._client

    @property
    def coordinator(self) -> int:
        """Its pid."""
        return json.loads((self.home / "coordinator.json").read_text())["pid"]

    def up(self) -> None:
        """Start the coordinator."""
        done = self("up")
        assert done.returncode == 0, done.stderr

    def run(self, directory: Path, script: str, *script_args: object, **options: object) -> "RunningJob":
        """Start ``pliant run``; the script of tests/elastic/scripts writes its traces into ``directory``."""
        job = RunningJob(self, directory, script, [str(arg) for arg in script_args], options)
        self.jobs.append(job)
        return job

    def close(self) -> None:
        """End everything that was started here; anything that had to be killed is an error."""
        for job in self.jobs:
            if job.process.poll() is None:
                job.process.kill()
                job.process.wait()
        if self._client is not None:
            self._client.close()
        self("down", "--force")
        setting = f"PLIANT_HOME={self.home}"
        end_s = time.monotonic() + 20
        while (left := processes_with(setting)) and time.monotonic() < end_s:
            time.sleep(0.02)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"leaked processes: {left}"

    @staticmethod
    def command(*arguments: object) -> list[str]:
        return [sys.executable, "-m", "pliant.cli.main", *(str(argument) for argument in arguments)]


class RunningJob:
    """One ``pliant run`` in the background."""

    def __init__(self, lab: Lab, directory: Path, script: str, script_args: list[str], options: dict) -> None:
        self.lab, self.directory = lab, directory
        self.name = str(options.pop("name", f"job-{uuid.uuid4().hex[:8]}"))
        self.mark = uuid.uuid4().hex
        self.out = directory / f"{self.name}.out"
        self.out.mkdir(parents=True)
        self._files = [directory / f"{self.name}.{kind}" for kind in ("stdout", "stderr", "json")]
        words: list[object] = ["run", "--name", self.name, "--no-live", "--report", self._files[2]]
        plan = options.pop("plan", None)
        if plan is not None:
            path = directory / f"{self.name}.toml"
            path.write_text(plan_text(plan))
            words += ["--plan", path]
        for option, value in options.items():
            words += [f"--{option}", value]
        words += [SCRIPTS / script, "--out", self.out, *script_args]
        with self._files[0].open("wb") as stdout, self._files[1].open("wb") as stderr:
            self.process = subprocess.Popen(
                lab.command(*words),
                env={**lab.environment, MARK: self.mark},
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    # ------------------------------------------------------------ looking

    def status(self) -> JobStatus | None:
        """None before the job exists."""
        try:
            return self.lab.client.job(self.name)
        except CoordinatorError as error:
            if error.status == 404:
                return None
            raise

    def events(self, *kinds: str) -> list[Event]:
        return [event for event in self.lab.client.events(self.name) if not kinds or event.kind in kinds]

    def wait(self, condition: Callable[[JobStatus], object], what: str):
        """Wait for something that the status shows; returns its value."""

        def look() -> object:
            status = self.status()
            if status is None:
                assert self.process.poll() is None, f"pliant run ended before: {what}\n{self.output()}"
                return None
            value = condition(status)
            over = status.state in ("finished", "stopped", "failed")
            assert value or not over, f"the job was {status.state} before: {what}\n{self.output()}"
            return value

        return wait_until(look, f"{what} (job {self.name}: {self.describe})")

    @property
    def describe(self) -> str:
        return f"see {self.out}"

    def wait_step(self, step: int) -> None:
        self.wait(lambda status: status.step >= step, f"step {step}")

    def wait_workers(self, count: int) -> list[WorkerStatus]:
        """Wait until exactly ``count`` workers train in one generation and no other exists; returns them by rank."""

        def look(status: JobStatus) -> object:
            ranks = sorted(worker.rank for worker in status.workers if worker.rank is not None)
            settled = len(status.workers) == count and ranks == list(range(count))
            return settled and all(w.state == "training" for w in status.workers) and status.workers

        return sorted(self.wait(look, f"{count} workers train"), key=lambda worker: worker.rank)

    def wait_event(self, kind: str, *, count: int = 1) -> list[Event]:
        return self.wait(
            lambda _: found if len(found := self.events(kind)) >= count else None, f"{count} events {kind}"
        )

    def worker(self, name: str) -> WorkerStatus:
        """One worker, once its process exists."""
        return self.wait(lambda s: next((w for w in s.workers if w.worker == name and w.pid), None), f"{name} is there")

    # ------------------------------------------------------------ disturbing

    def signal(self, worker: str, number: int = signal.SIGKILL) -> int:
        """Send a real signal to a worker's process; returns its pid."""
        pid = self.worker(worker).pid
        assert pid is not None
        os.kill(pid, number)
        return pid

    def scale(self, workers: int) -> None:
        """Through the command line."""
        done = self.lab("scale", self.name, workers)
        assert done.returncode == 0, done.stderr

    def hold(self, phase: str, worker: str) -> None:
        """Have the script wait in this phase on this worker, from its next visit on."""
        (self.out / f"hold-{phase}-{worker}").touch()

    def wait_held(self, phase: str, worker: str) -> None:
        self.wait(lambda _: (self.out / f"at-{phase}-{worker}").exists(), f"{worker} is held in {phase}")

    def release(self, phase: str, worker: str) -> None:
        (self.out / f"hold-{phase}-{worker}").unlink()

    # ------------------------------------------------------------ the end

    def output(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-6000:] for path in self._files[:2] if path.exists())

    def stop(self) -> "Ended":
        """``pliant stop``, and wait for the end."""
        done = self.lab("stop", self.name)
        assert done.returncode == 0, done.stderr
        return self.end(5)

    def end(self, code: int = 0) -> "Ended":
        """Wait for the end of ``pliant run``; it must have this exit code and leave no process."""
        wait_until(lambda: self.process.poll() is not None, f"`pliant run` of {self.name} ends")
        assert self.process.returncode == code, f"exit code {self.process.returncode}\n{self.output()}"
        self.assert_no_process()
        report = json.loads(self._files[2].read_text()) if self._files[2].exists() else {}
        texts = [path.read_text() for path in self._files[:2]]
        return Ended(code, *texts, report, read_traces(self.out))

    def processes(self) -> dict[int, str]:
        """Live processes of this job, ``pliant run`` included, with their command lines."""
        return processes_with(f"{MARK}={self.mark}")

    def assert_no_process(self, *, but: int = 0) -> None:
        """Agent, template and workers are gone."""
        end_s = time.monotonic() + 20
        while left := {pid: text for pid, text in self.processes().items() if pid != but}:
            assert time.monotonic() < end_s, f"processes outlive {self.name}: {left}"
            time.sleep(0.02)


def plan_text(plan: list[dict]) -> str:
    """A plan file."""
    return "".join("[[event]]\n" + "".join(f"{key} = {value}\n" for key, value in event.items()) for event in plan)
