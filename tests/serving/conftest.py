"""Services as real processes; whatever they leave behind fails the test."""

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from service_lab import MARK, MODELS, Service

from pliant.testing.processes import processes_with


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


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service of a class of service_models.py, or of any other target."""
    with services(tmp_path) as start:
        yield start


@pytest.fixture
def serve(begin: Callable[..., Service]) -> Callable[..., Service]:
    """The same, once the model is loaded."""
    return lambda target, *options: begin(target, *options).wait_ready()


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests of a file, which says in SERVED what it is started with. They must not change it."""
    with services(tmp_path_factory.mktemp("shared")) as start:
        yield start(*request.module.SERVED).wait_ready()
