"""A home directory with whatever coordinator the command line starts there; nothing of it outlives the test."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_helpers import Pliant, marked_processes


@pytest.fixture
def pliant(tmp_path: Path) -> Iterator[Pliant]:
    mark = uuid.uuid4().hex
    command = Pliant(tmp_path / "home", mark)
    yield command
    command("down", "--force")
    deadline_s = time.monotonic() + 15
    while (left := marked_processes(mark)) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"leaked processes: {left}"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("print('not run in these tests')\n")
    return path
