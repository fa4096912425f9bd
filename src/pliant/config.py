"""Where things are on disk, and what a process is told when it starts. No torch, no I/O beyond paths."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


def home_dir() -> Path:
    """The directory of this coordinator's files: ``$PLIANT_HOME``, else ``~/.pliant``."""
    return Path(os.environ.get("PLIANT_HOME") or Path.home() / ".pliant")


@dataclass(frozen=True)
class Home:
    """The files below a home directory; all are readable by their owner only."""

    path: Path

    @property
    def token(self) -> Path:
        """The secret that every call needs."""
        return self.path / "token"

    @property
    def coordinator(self) -> Path:
        """``{"pid": ..., "host": ..., "port": ...}`` of the running coordinator."""
        return self.path / "coordinator.json"

    @property
    def journal(self) -> Path:
        """SQLite file with the events of all jobs."""
        return self.path / "journal.sqlite"

    def job(self, name: str) -> Path:
        """Logs of a job: ``w1.log``, ..., ``s1.log``, ..., ``agent.log``."""
        return self.path / "jobs" / name

    def service(self, name: str) -> Path:
        """Socket and logs of a service: ``template.log``, ``r1.log``, ..."""
        return self.path / "services" / name


@dataclass(frozen=True)
class WorkerSpec:
    """All that a worker process is told. Made by the agent, read by ``pliant.training.worker.run``."""

    job: str
    worker: str
    script: str
    args: tuple[str, ...]
    home: str
    log: str
    """File that takes stdout and stderr; empty: inherit."""
    threads: int = 1
    """Intra-op threads; the same for all workers of a job, because it is part of the bits."""
    launch: str = ""
    """Which start of a job of this name the worker belongs to (``JobSpec.launch``)."""
    host: str = "127.0.0.1"
    """Address on which the worker's mesh listens."""
    role: Literal["worker", "server"] = "worker"
    """A parameter server runs the same script, as far as :func:`pliant.join`."""
