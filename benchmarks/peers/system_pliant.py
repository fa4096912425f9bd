"""Pliant through its command line, with nothing tuned."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

from benchmarks.peers.base import HERE, Job, System
from benchmarks.peers.processes import Unit, environment, run_python

NAME = "peers"


class PliantJob(Job):
    """One unit: the coordinator, agent and workers all descend from ``pliant run``."""

    workers = 0

    def start(self, workers: int) -> None:
        """Begin with so many."""
        self.workers = workers
        self.env = environment(PLIANT_HOME=str(self.directory / "home"))
        words = ["run", "--no-live", "--name", NAME, "--workers", f"{self.least}:{self.most}", "--start", str(workers)]
        words += [str(HERE / "train_pliant.py"), *self.work.words(self.books)]
        self.units = [Unit(run_python("-m", "pliant.cli.main", *words), self.env, self.log())]

    def grow(self) -> None:
        """``pliant scale``; counted from the start of that command."""
        self._scale(self.workers + 1)

    def leave(self) -> None:
        """``pliant scale`` to one fewer."""
        self._scale(self.workers - 1)

    def kill(self, workers: Sequence[int]) -> None:
        """SIGKILL the newest worker. The agent starts another one, as the wanted number stays."""
        os.kill(workers[-1], signal.SIGKILL)

    def close(self) -> None:
        """End the coordinator, then as for all."""
        down = run_python("-m", "pliant.cli.main", "down", "--force")
        subprocess.run(down, env=self.env, check=False, capture_output=True, timeout=60)
        super().close()

    def _scale(self, workers: int) -> None:
        self.workers = workers
        command = run_python("-m", "pliant.cli.main", "scale", NAME, str(workers))
        subprocess.run(command, env=self.env, check=True, capture_output=True, timeout=60)


SYSTEMS = (
    System(
        name="pliant",
        job=PliantJob,
        script="train_pliant.py",
        packages=("pliant",),
        settings={
            "options": "none but --workers and --start",
            "planned leave": "`pliant scale` to one fewer",
            "after a kill": "a replacement is started by itself while the others go on; only here, the peers stay at 2",
        },
    ),
)
