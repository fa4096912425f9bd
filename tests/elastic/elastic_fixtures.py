"""A coordinator for each test file, and undisturbed runs to compare with, each computed once."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elastic_books import Trace, read_traces
from elastic_lab import DEADLINE_S, SCRIPTS, BookLab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BookLab]:
    """One coordinator for a file's tests."""
    lab = BookLab(tmp_path_factory.mktemp("lab") / "home")
    lab.up()
    yield lab
    lab.close()


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[BookLab]:
    """A coordinator for one test, which may harm it."""
    lab = BookLab(tmp_path / "home")
    lab.up()
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trace]:
    """The books of ``python script.py``: one process, no ``pliant run``. Each is run once a session."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    known: dict[str, Trace] = {}

    def get(script: str, *script_args: object) -> Trace:
        words = [str(word) for word in script_args]
        key = "_".join([script, *words]).replace("/", "_")
        if key not in known:
            shared.mkdir(exist_ok=True)
            with (shared / f"{key}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                out = shared / key
                if not (out / "done").exists():
                    shutil.rmtree(out, ignore_errors=True)  # half a book of a run that failed
                    command = [sys.executable, str(SCRIPTS / script), "--out", str(out), *words]
                    subprocess.run(command, check=True, timeout=DEADLINE_S, capture_output=True)
                    (out / "done").touch()
            known[key] = read_traces(out)
        return known[key]

    return get
