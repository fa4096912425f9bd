"""Agents as real processes; whatever they leave behind fails the test."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backend_helpers import MARK, marked_processes
from fake_coordinator import DEADLINE_S, FakeCoordinator


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[FakeCoordinator]:
    fake = FakeCoordinator(tmp_path / "home")
    yield fake
    fake.close()


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark for the environment of processes; none that has it may outlive the test."""
    mark = uuid.uuid4().hex
    yield mark
    deadline_s = time.monotonic() + 10
    while (left := marked_processes(mark)) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"leaked processes: {left}"


@pytest.fixture
def start_agent(coordinator: FakeCoordinator, mark: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start an agent whose workers run ``agent_entries:obey_args`` on the words given."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, options: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pliant.backends.agent", "--home", str(coordinator.home.path)]
        command += ["--job", "j", "--script", "train.py", "--entry", "agent_entries:obey_args"]
        command += ["--preload", "json", *options, "--", *words]
        path = str(Path(__file__).parent)
        with (coordinator.home.path / "agent.err").open("ab") as errors:
            process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": path, MARK: mark, **environment},
                start_new_session=True,
                stderr=errors,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=DEADLINE_S)
