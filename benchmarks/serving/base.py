"""What the harness asks of a system: serve this, be gone again, and nothing about what happened."""

from __future__ import annotations

import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.processes import Unit, free_port
from benchmarks.serving.order import Order

BIN = Path(sys.executable).parent
PATH = "/predict"


class Server(ABC):
    """One running instance of one system."""

    def __init__(self, directory: Path, options: Mapping[str, str]) -> None:
        self.directory, self.options = directory, options
        self.port = free_port()
        self.units: list[Unit] = []
        """What serves. Commands that have only told it what to serve are not among them."""
        directory.mkdir(parents=True)

    @abstractmethod
    def start(self, order: Order) -> None:
        """Begin to serve this, in place of what was served before. May return before it answers."""

    def start_by_command(self, order: Order) -> None:
        """As :meth:`start`, by the one command that a user types; returns at once."""
        self.start(order)

    def wait_until_loaded(self) -> None:
        """After a start with no replica: until a request would wait for nothing but one. Here: :meth:`start` did."""
        return

    def pids(self) -> list[int]:
        """Of all processes that it has now."""
        return [pid for unit in self.units for pid in unit.pids()]

    def log(self) -> Path:
        """Where its processes write to."""
        return self.directory / "log"

    def tail(self) -> str:
        """The last lines of the log."""
        text = self.log().read_text(errors="replace") if self.log().exists() else ""
        return " | ".join(text.strip().splitlines()[-3:])[-300:]

    def end(self) -> None:
        """End every process; the instance can be started again."""
        for unit in self.units:
            unit.close()
        self.units.clear()

    def close(self) -> None:
        """End every process and remove all files."""
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)


class StartError(Exception):
    """A server does not answer as it should; the message says what was waited for."""


@dataclass(frozen=True)
class System:
    """One column of the tables. ``lacks``: scenario -> why it is not in it."""

    name: str
    server: type[Server]
    packages: tuple[str, ...]
    settings: Mapping[str, str]
    """Setting -> value and where it comes from; shown in the results."""
    options: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    batches: bool = True
    models: tuple[str, ...] = ()
    """Whose throughput is measured; empty: all."""
    most: Mapping[str, int] = field(default_factory=dict)
    """Scenario -> how often at most, where one run takes long."""
    variant: bool = False
    """Another setting of a system that is there already; left out of a short look."""
    reported: tuple[str, ...] = ("throughput", "start", "burst", "zero", "kill", "memory")
    """Scenarios that this variant is measured in; a variant that differs only elsewhere is not measured twice."""

    def create(self, directory: Path) -> Server:
        """An instance, not started yet."""
        return self.server(directory, self.options)
