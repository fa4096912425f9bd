"""Finds the coordinator of a home directory, or starts one that outlives this command."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pliant.config import Home
from pliant.errors import CoordinatorError
from pliant.wire.address import Address, last_address
from pliant.wire.http import find_coordinator

START_DEADLINE_S = 20.0
_TAIL_LINES = 20


def ensure_coordinator(home: Home, *, options: Sequence[str] | None = None) -> tuple[Address, bool]:
    """The address of the running coordinator, and whether it was started by this call.

    Safe against several processes doing this at once: one starts it, the others wait and find it.

    Args:
        home: Its directory; made if it does not exist.
        options: For the coordinator's own command line, used only if it is started. None: if one was killed here, its
            options, else none.

    Raises:
        CoordinatorError: It did not come up; with the end of its log. No process of it is left.
    """
    found = find_coordinator(home)
    if found is not None:
        return found, False
    home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(home.path / "start.lock"):
        found = find_coordinator(home)
        if found is not None:
            return found, False
        if options is None:
            killed = last_address(home)
            options = [] if killed is None else killed.options
        return _start(home, options), True


def _start(home: Home, options: Sequence[str]) -> Address:
    log = home.path / "coordinator.log"
    # -P: the current directory, which may hold files named like library modules, stays out of the path.
    command = [sys.executable, "-P", "-m", "pliant.control.coordinator", "--home", str(home.path.absolute()), *options]
    with log.open("ab") as output:
        os.chmod(log, 0o600)
        begin = output.tell()
        process = subprocess.Popen(
            command, cwd=home.path, start_new_session=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    deadline_s = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline_s:
        found = find_coordinator(home)
        if found is not None and found.pid == process.pid:
            # It is meant to outlive this object; without this, Popen would warn about that.
            process.returncode = 0
            return found
        if process.poll() is not None:
            raise CoordinatorError(
                f"the coordinator ended at once with exit code {process.returncode}\n{tail(log, begin=begin)}"
            )
        time.sleep(0.02)
    process.kill()
    process.wait()
    raise CoordinatorError(f"the coordinator did not answer within {START_DEADLINE_S:g} s\n{tail(log, begin=begin)}")


def tail(log: Path, *, begin: int = 0) -> str:
    """The last lines of a log from byte ``begin`` on, indented, below its path."""
    try:
        with log.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError as error:
        return f"  its log {log} cannot be read: {error}"
    if not lines:
        return f"  its log {log} is empty"
    return "\n".join([f"  the end of {log}:", *(f"    {line}" for line in lines[-_TAIL_LINES:])])


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
