"""What the harness asks of a system: start a job, change it, and nothing about what happened."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.processes import Unit

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Work:
    """What is trained in one run."""

    model: str
    batch: int
    shards: int
    steps: int
    context: int = 32

    def words(self, books: Path) -> list[str]:
        """The training script's arguments."""
        given = {**vars(self), "books": books}
        return [word for name, value in given.items() for word in (f"--{name}", str(value))]


class StartError(Exception):
    """A job could not be started; the message says what was waited for."""


class Job(ABC):
    """One run of one system. Units are kept in the order in which they were started."""

    def __init__(self, directory: Path, work: Work, bounds: tuple[int, int], options: Mapping[str, str]) -> None:
        self.directory, self.work, self.options = directory, work, options
        self.least, self.most = bounds
        self.books = directory / "books"
        self.books.mkdir(parents=True)
        self.units: list[Unit] = []
        """Of workers, one for each; those that were taken away are in ``gone``."""
        self.gone: list[Unit] = []
        self.services: list[Unit] = []
        """Processes that no scenario touches."""

    @abstractmethod
    def start(self, workers: int) -> None:
        """Begin with so many."""

    @abstractmethod
    def grow(self) -> None:
        """Ask for one more."""

    def kill(self, workers: Sequence[int]) -> None:
        """SIGKILL one of the worker processes ``workers`` and whatever exists for it alone on its machine."""
        unit = self.victims[-1]
        if not set(unit.pids()) & set(workers):
            raise RuntimeError(f"none of the workers {list(workers)} belongs to the process that was to be killed")
        self.units.remove(unit)
        unit.kill()
        self.gone.append(unit)

    def leave(self) -> None:
        """Take one worker away as the system's documentation has it for a planned leave."""
        unit = self.units.pop()
        unit.process.terminate()
        self.gone.append(unit)

    @property
    def victims(self) -> list[Unit]:
        """Units that may be killed: never one that the others depend on by design."""
        return self.units[1:]

    def is_over(self) -> bool:
        """Whether nothing trains any more."""
        return all(unit.process.poll() is not None for unit in self.units)

    def failed(self) -> bool:
        """Whether everything that trained has ended, none of it well."""
        return self.is_over() and all(unit.process.returncode != 0 for unit in self.units)

    def log(self) -> Path:
        """Where all processes write to."""
        return self.directory / "log"

    def close(self) -> None:
        """End every process of the job and remove its files."""
        for unit in [*self.units, *self.gone, *self.services]:
            unit.close()
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass(frozen=True)
class System:
    """One column of the table."""

    name: str
    job: type[Job]
    script: str
    packages: tuple[str, ...]
    settings: Mapping[str, str]
    """Setting -> value and where it comes from; shown in the results."""
    tuned: bool = True
    elastic: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    longer: int = 1
    """How many times as many steps a run needs, so that it does not end before a change is over."""

    def create(self, directory: Path, work: Work, bounds: tuple[int, int]) -> Job:
        """A job, not started yet."""
        return self.job(directory, work, bounds, self.options)
