"""Waiting for conditions, and finding processes by a mark in their environment."""

import time
from collections.abc import Callable
from pathlib import Path

from fake_coordinator import DEADLINE_S

MARK = "PLIANT_TEST_MARK"


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for a named condition."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {DEADLINE_S} s in vain: {what}"
        time.sleep(0.01)


def marked_processes(mark: str) -> list[int]:
    """Live processes that inherited this mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                marked = f"{MARK}={mark}".encode() in (entry / "environ").read_bytes()
            except OSError:
                continue
            if marked:
                found.append(int(entry.name))
    return found
