"""What the workers and servers of a job print, read from their log files as they grow."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

_LOG = re.compile(r"([ws]\d+)\.log")
_MOST_BYTES = 1 << 20


@dataclass
class _Reading:
    position: int = 0
    rest: bytes = b""


class WorkerLogs:
    """Reads whole lines; the unfinished last one is kept back until it is finished or :meth:`drain` is called."""

    def __init__(self, directory: Path) -> None:
        """``directory`` need not exist yet."""
        self._directory = directory
        self._readings: dict[str, _Reading] = {}

    def poll(self) -> list[tuple[str, str]]:
        """(worker, line) of what has come since the last call; workers first, in the order of their numbers."""
        lines = []
        for worker, path in self._files():
            reading = self._readings.setdefault(worker, _Reading())
            with contextlib.suppress(OSError), path.open("rb") as file:
                file.seek(reading.position)
                data = file.read(_MOST_BYTES)
                reading.position += len(data)
                *whole, reading.rest = (reading.rest + data).split(b"\n")
                lines += [(worker, _text(line)) for line in whole]
        return lines

    def drain(self) -> list[tuple[str, str]]:
        """All that is left, unfinished lines too."""
        lines = []
        while more := self.poll():
            lines += more
        for worker, reading in self._readings.items():
            if reading.rest:
                lines.append((worker, _text(reading.rest)))
                reading.rest = b""
        return lines

    def _files(self) -> list[tuple[str, Path]]:
        try:
            found = [(match[1], path) for path in self._directory.iterdir() if (match := _LOG.fullmatch(path.name))]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda pair: (pair[0][0] != "w", int(pair[0][1:])))


def remove_old_logs(directory: Path) -> None:
    """Take away what an earlier job of the same name left; the name is unique among running jobs."""
    if directory.is_dir():
        for path in directory.iterdir():
            if _LOG.fullmatch(path.name) or path.name == "agent.log":
                path.unlink(missing_ok=True)


def _text(line: bytes) -> str:
    """A line as text. Of a line that was redrawn with carriage returns, the last drawing."""
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
