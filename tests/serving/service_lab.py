"""A service as a real process, and requests to it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx

from pliant.testing import waiting
from pliant.testing.processes import processes_with
from pliant.wire.service_api import read_spec

DEADLINE_S = 60.0
MARK = "SERVICE_TEST_MARK"
MODELS = Path(__file__).with_name("service_models.py")


wait_until = partial(waiting.wait_until, deadline_s=DEADLINE_S)
"""Wait for a named condition; returns its value."""


def parent_of(pid: int) -> int:
    """Of a replica: its template."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Service:
    """``pliant serve`` in a home of its own."""

    def __init__(self, directory: Path, mark: str, target: str, *options: str, home: Path | None = None) -> None:
        self.gate = directory / "gate"
        self.gate.mkdir()
        self.home = home or directory / "home"
        environment = {
            **os.environ, "PLIANT_HOME": str(self.home), "SERVICE_GATE": str(self.gate), MARK: mark,
        }  # fmt: skip
        command = [
            sys.executable,
            "-P",
            "-m",
            "pliant.cli.main",
            "serve",
            target,
            "--name",
            "model",
            "--json",
            *options,
        ]
        self._errors = (directory / "stderr").open("wb")
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=self._errors, text=True, cwd=directory
        )
        self.key = environment.get("PLIANT_API_KEY", "")
        self._threads = ThreadPoolExecutor(64)
        self.url = ""
        self.client = httpx.Client(timeout=DEADLINE_S, limits=httpx.Limits(max_connections=64))

    @property
    def stderr(self) -> str:
        """So far."""
        return Path(self._errors.name).read_text()

    @property
    def directory(self) -> Path:
        """The service's."""
        return self.home / "services" / "model"

    @property
    def events(self) -> list[dict]:
        """So far."""
        return [json.loads(line) for line in (self.directory / "events.jsonl").read_text().splitlines()]

    @property
    def router(self) -> int:
        """Its pid."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = (int(child) for child in children)
        return pid

    def wait_ready(self) -> "Service":
        """Until the model is loaded."""
        assert self.process.stdout is not None
        told = self._threads.submit(self.process.stdout.readline)
        try:
            line = told.result(waiting.DEADLINE_S)
        except TimeoutError:
            raise AssertionError(
                f"waited {waiting.DEADLINE_S:g} s in vain: it is ready. It said: {self.stderr}"
            ) from None
        assert line, self.stderr
        self.url = json.loads(line)["url"]
        return self

    def wait_first_held(self) -> "Service":
        """Of ``SlowFirst``: until its first version is being loaded, which takes for ever."""
        wait_until((self.gate / "held-first").exists, "the first version is being loaded")
        self.url = read_spec(self.directory).url
        return self

    # ------------------------------------------------------------ requests

    def predict(self, rows: object, **more: object) -> httpx.Response:
        """``POST /predict``."""
        return self.client.post(f"{self.url}/predict", json=rows, **more)  # type: ignore[arg-type]

    def later(self, rows: object, **more: object) -> Future[httpx.Response]:
        """The same, in a thread."""
        return self._threads.submit(self.predict, rows, **more)

    def predict_anew(self, rows: object) -> httpx.Response:
        """Over a connection of its own: those to a router that was killed are lost."""
        return httpx.post(f"{self.url}/predict", json=rows, timeout=DEADLINE_S)

    def infer(self, body: object, **more: object) -> httpx.Response:
        """``POST /v2/models/model/infer``."""
        return self.client.post(f"{self.url}/v2/models/model/infer", json=body, **more)  # type: ignore[arg-type]

    def status(self) -> dict:
        """``GET /status``."""
        return self.client.get(f"{self.url}/status").json()

    def ready(self) -> list[dict]:
        """The replicas that answer."""
        return [replica for replica in self.status()["replicas"] if replica["state"] == "ready"]

    def wait_requests(self, count: int) -> None:
        """Until so many are inside."""
        wait_until(lambda: self.status()["requests"] == count, f"{count} requests are inside")

    def wait_replicas(self, count: int) -> list[dict]:
        """Until exactly so many answer."""
        wait_until(lambda: len(self.ready()) == count == len(self.status()["replicas"]), f"there are {count} replicas")
        return self.ready()

    def pliant(self, *words: object) -> subprocess.CompletedProcess[str]:
        """A command beside it, to its end."""
        command = [sys.executable, "-P", "-m", "pliant.cli.main", *map(str, words)]
        environment = {**os.environ, "PLIANT_HOME": str(self.home)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    # ------------------------------------------------------------ faults

    def hold(self) -> None:
        """From now on replicas stand still in the middle of a batch."""
        (self.gate / "hold").touch()

    def wait_held(self, count: int = 1) -> list[int]:
        """Until so many do; returns their pids."""
        wait_until(lambda: len(list(self.gate.glob("held-*"))) >= count, f"{count} replicas are held")
        return [int(path.name.partition("-")[2]) for path in self.gate.glob("held-*")]

    def release(self) -> None:
        """They go on."""
        (self.gate / "hold").unlink()
        for path in self.gate.glob("held-*"):
            path.unlink()

    def clear(self) -> None:
        """Nobody is held, and no request is left of an earlier test."""
        for path in self.gate.iterdir():
            path.unlink()
        self.wait_requests(0)

    # ------------------------------------------------------------ the end

    def end(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """Whatever is left of it."""
        (self.gate / "hold").unlink(missing_ok=True)
        self.end()
        self._threads.shutdown(cancel_futures=True)  # first: who still asks would open a connection in a closed client
        self.client.close()
        self._errors.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def services(directory: Path) -> Iterator[Callable[..., Service]]:
    """A function that starts one; all are ended with the block."""
    mark, started = uuid.uuid4().hex, []

    def start(target: str, *options: str, home: Path | None = None) -> Service:
        path = target if "." in target else f"{MODELS}:{target}"
        own = directory / f"service{len(started)}"
        own.mkdir()
        started.append(Service(own, mark, path, *options, home=home))
        return started[-1]

    yield start
    for service in started:
        service.close()
    deadline_s = time.monotonic() + 15
    while (left := processes_with(f"{MARK}={mark}")) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"leaked processes: {left}"
