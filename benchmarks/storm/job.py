"""The job under the storm, through the public command line, and the signals that hit its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from benchmarks.peers.processes import Unit, environment, run_python
from benchmarks.storm.books import is_alive

TRAIN = Path(__file__).resolve().with_name("train.py")
NAME = "storm"


class StormJob:
    """One ``pliant run`` in a home directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.home, self.books = directory / "home", directory / "books"
        self.report, self.log = directory / "report.json", directory / "log"
        self.books.mkdir(parents=True)
        self._env = environment(PLIANT_HOME=str(self.home))
        self._unit: Unit | None = None

    def start(self, *, workers: str, begin: int, patience_s: float, epochs: int) -> None:
        """``pliant run`` in the background."""
        words = ["run", "--no-live", "--name", NAME, "--workers", workers, "--start", str(begin)]
        words += ["--patience", f"{patience_s:g}", "--report", str(self.report)]
        words += [str(TRAIN), "--books", str(self.books), "--epochs", str(epochs)]
        self._unit = Unit(run_python("-m", "pliant.cli.main", *words), self._env, self.log)

    def scale(self, workers: int) -> None:
        """``pliant scale``."""
        self._pliant("scale", NAME, str(workers), check=True)

    @property
    def code(self) -> int | None:
        """The exit code of ``pliant run``, None while it runs."""
        assert self._unit is not None
        return self._unit.process.poll()

    def coordinator(self) -> int | None:
        """Its pid, None while there is none."""
        try:
            pid = int(json.loads((self.home / "coordinator.json").read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return None
        return pid if is_alive(pid) else None

    def close(self) -> None:
        """End everything."""
        self._pliant("down", "--force")
        if self._unit is not None:
            self._unit.close()

    def _pliant(self, *words: str, check: bool = False) -> None:
        command = run_python("-m", "pliant.cli.main", *words)
        subprocess.run(command, env=self._env, check=check, capture_output=True, timeout=120)


def send(pid: int, number: signal.Signals) -> bool:
    """Whether there was a process to take the signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
