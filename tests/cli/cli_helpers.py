"""The command line as a real process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 60.0
MARK = "PLIANT_TEST_MARK"
ENTRY = "cli_workers:run"


def wait_until(condition: Callable[[], object], what: str) -> object:
    """Wait for a named condition; returns its value."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline_s, f"waited {DEADLINE_S} s in vain: {what}"
        time.sleep(0.01)
    return value


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


class Pliant:
    """Runs ``pliant`` with a home of its own."""

    def __init__(self, home: Path, mark: str) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "PLIANT_HOME": str(home),
            "PYTHONPATH": str(Path(__file__).parent),
            MARK: mark,
            "COLUMNS": "100",
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def start(self, *arguments: str, output: Path) -> subprocess.Popen[str]:
        """Start it, with stdout and stderr going to ``output``."""
        with output.open("wb") as file:
            return subprocess.Popen(
                self.command(*arguments), env=self.environment, stdout=file, stderr=file, start_new_session=True
            )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "pliant.cli.main", *arguments]
