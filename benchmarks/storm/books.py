"""Follows the workers' books while they are written, and says who trains, who joins, and who is gone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.history import Commit, Process


@dataclass
class Worker(Process):
    """One worker process. ``stopped_s``: when the storm sent it SIGKILL or SIGSTOP, or it was seen to be gone."""

    stopped_s: float | None = None
    shards: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)
    """Step -> samples of each shard that it computed."""

    @property
    def first_commit_s(self) -> float | None:
        """When it began to train with the others."""
        return self.commits[0].time_s if self.commits else None

    @property
    def trains(self) -> bool:
        """It has committed a step and nothing happened to it."""
        return bool(self.commits) and self.stopped_s is None and self.end_sha is None

    @property
    def joins(self) -> bool:
        """Its process lives, it has committed nothing yet."""
        return not self.commits and self.stopped_s is None


class Books:
    """All books below a directory, read on as they grow."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.workers: dict[str, Worker] = {}
        self._offsets: dict[str, int] = {}

    def read(self) -> None:
        """Take in what was written since the last call."""
        for path in sorted(self.directory.glob("book-*.jsonl")):
            worker = self.workers.get(path.stem)
            if worker is not None and (worker.end_sha is not None or not is_new(path, self._offsets[path.stem])):
                continue
            with path.open("rb") as file:
                file.seek(self._offsets.get(path.stem, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path.stem] = self._offsets.get(path.stem, 0) + len(whole)
            for line in whole.splitlines():
                self._take(path.stem, *json.loads(line))

    def note_gone(self, now_s: float) -> None:
        """Workers whose process has ended, whatever ended it."""
        for worker in self.workers.values():
            if worker.stopped_s is None and worker.end_sha is None and not is_alive(worker.pid):
                worker.stopped_s = now_s

    @property
    def trainers(self) -> list[Worker]:
        """In order of their beginning."""
        return [worker for worker in self.workers.values() if worker.trains]

    @property
    def joiners(self) -> list[Worker]:
        """In order of their beginning."""
        return [worker for worker in self.workers.values() if worker.joins]

    @property
    def step(self) -> int:
        """The highest committed step, -1 if none."""
        return max((worker.commits[-1].step for worker in self.workers.values() if worker.commits), default=-1)

    def _take(self, name: str, kind: str, time_s: float, step: int, value: object) -> None:
        if kind == "begin":
            self.workers[name] = Worker(name, int(value), time_s)  # type: ignore[call-overload]
            return
        worker = self.workers[name]
        if kind == "computes":
            worker.shards.setdefault(step, []).append(tuple(value))  # type: ignore[arg-type]
        elif kind == "commit":
            worker.commits.append(Commit(time_s, step, name, tuple(value)))  # type: ignore[arg-type]
        else:
            worker.end_sha = str(value)


def is_new(path: Path, offset: int) -> bool:
    """Whether a file has grown beyond ``offset``."""
    return path.stat().st_size > offset


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie. A stopped one is alive."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
