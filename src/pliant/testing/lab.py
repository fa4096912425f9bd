"""A private home directory with a coordinator of its own, in which jobs are run and disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pliant.config import Home
from pliant.errors import CoordinatorError
from pliant.testing.elastic_job import ElasticJob
from pliant.testing.launch import Launch, pliant
from pliant.testing.processes import is_alive, processes_with
from pliant.testing.result import Result
from pliant.testing.waiting import DEADLINE_S, wait_until
from pliant.testing.watched_job import WatchedJob
from pliant.wire.address import read_address
from pliant.wire.http import Client

Value = TypeVar("Value")


class Lab:
    """Runs elastic jobs through the public command line, and ends whatever is left of them.

    Args:
        home: ``PLIANT_HOME`` of everything that is started here; made if it is not there.
        search: Directories in which scripts are looked for, in this order.
        deadline_s: The longest that any wait may take, in seconds.
        calm: Results of undisturbed runs; share it between labs to run each once only.
    """

    def __init__(
        self,
        home: Path,
        *,
        search: Sequence[Path] = (),
        deadline_s: float = DEADLINE_S,
        calm: dict[str, Result] | None = None,
    ) -> None:
        self.home, self.search, self.deadline_s = home.absolute(), list(search), deadline_s
        self.environment = {**os.environ, "PLIANT_HOME": str(self.home), "COLUMNS": "200"}
        self.jobs: list[WatchedJob] = []
        self.end_wait_s = 20.0
        """How long processes may take to end by themselves, once the coordinator was told to end its jobs."""
        self._calm = {} if calm is None else calm
        self._client: Client | None = None

    def __enter__(self) -> Lab:
        """The lab itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # ------------------------------------------------------------ jobs

    def run(
        self, script: str | Path, *arguments: object, workers: str = "1:4", start: int = 1, **options: object
    ) -> ElasticJob:
        """Start ``pliant run``; returns at once.

        Args:
            script: A path, or one below the directories in ``search``.
            arguments: Of the script.
            workers: Bounds, ``"MIN:MAX"``.
            start: Workers of the founding generation.
            options: Others of ``pliant run``: ``patience=2``, ``plan=[{"at_step": 5, "kill": 1}]``, ...
        """
        words = tuple(str(argument) for argument in arguments)
        given = {"workers": workers, "start": start, **options}
        launch = Launch(self.find(script), words, self.home.parent / f"{self.home.name}-jobs", given)
        job = ElasticJob(self, launch)
        self.jobs.append(job)
        return job

    def undisturbed(self, script: str | Path, *arguments: object, **options: object) -> Result:
        """The same script with the same arguments on one worker to whom nothing happens. Run once, then remembered."""
        key = repr((str(self.find(script)), [str(argument) for argument in arguments], sorted(options.items())))
        if key not in self._calm:
            self._calm[key] = self.run(script, *arguments, workers="1:1", start=1, **options).end()
        return self._calm[key]

    def find(self, script: str | Path) -> Path:
        """The script's file."""
        tried = [Path(script)] if Path(script).is_absolute() else [base / script for base in (*self.search, Path.cwd())]
        for path in tried:
            if path.is_file():
                return path.resolve()
        raise FileNotFoundError(f"no script {script}; looked for " + ", ".join(str(path) for path in tried))

    # ------------------------------------------------------------ the coordinator

    def __call__(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a verb of ``pliant`` to its end: ``lab("status", "--json")``."""
        return subprocess.run(
            pliant(*words), env=self.environment, capture_output=True, text=True, timeout=self.deadline_s, check=False
        )

    def up(self) -> None:
        """Start the coordinator, and have it stay while there is no job."""
        done = self("up")
        if done.returncode != 0:
            raise AssertionError(f"`pliant up` failed:\n{done.stderr}")

    @property
    def coordinator(self) -> int:
        """Pid of the coordinator that wrote its address last."""
        address = read_address(Home(self.home))
        if address is None:
            raise AssertionError(f"no coordinator has been started in {self.home}")
        return address.pid

    def kill_coordinator(self) -> int:
        """SIGKILL to the coordinator; returns its pid once it is gone. Training goes on meanwhile."""
        pid = self.coordinator
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), f"the coordinator (pid {pid}) is gone", deadline_s=self.deadline_s)
        return pid

    def ask(self, call: Callable[[Client], Value]) -> Value:
        """One call to the coordinator, which may be another one than last time.

        Raises:
            CoordinatorError: It refused, or (``status`` 0) none answers.
        """
        known = self._client
        try:
            return call(known or self._connect())
        except CoordinatorError as error:
            if error.status != 0 or known is None:
                raise
            self._disconnect()
        return call(self._connect())

    def _connect(self) -> Client:
        self._client = Client.of(Home(self.home))
        return self._client

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        """End everything that was started here.

        Raises:
            AssertionError: A process had to be killed: it did not end with its job.
        """
        for job in self.jobs:
            job.abandon()
        self._disconnect()
        self("down", "--force")
        mark = f"PLIANT_HOME={self.home}"
        end_s = time.monotonic() + self.end_wait_s
        while (left := processes_with(mark)) and time.monotonic() < end_s:
            time.sleep(0.02)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        if left:
            raise AssertionError(f"leaked processes: {left}")
