"""The harness's side of a client: starts it, hears its notes, ends it."""

from __future__ import annotations

import os
import select
import subprocess
import time
from types import TracebackType
from typing import Self

import msgspec

from benchmarks.peers.processes import environment, run_python
from benchmarks.serving.load_records import Job, Note, Records

_LINE: msgspec.json.Decoder[Note | Records] = msgspec.json.Decoder(Note | Records)
GRACE_S = 30.0


class Load:
    """One running client. Leaving the ``with`` ends it, however it is left."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._process = subprocess.Popen(
            run_python("-m", "benchmarks.serving.client"),
            env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._out = self._process.stdin, self._process.stdout.fileno()
        self._buffer = b""
        self._records: Records | None = None
        self.pids: dict[int, float] = {}
        """Of the processes that have answered -> when they did for the first time."""
        self._stdin.write(msgspec.json.encode(job) + b"\n")
        self._stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def wait(self, what: str, *, limit_s: float) -> bool:
        """Until the client has noted this; False if it has not in time."""
        end_s = time.monotonic() + limit_s
        while (note := self._next(end_s)) is not None:
            if note.what == what:
                return True
        return False

    def wait_for_pids(self, count: int, *, apart_from: frozenset[int] = frozenset(), limit_s: float) -> list[int]:
        """Until so many processes have answered, apart from these. Fewer, if it takes longer than the limit."""
        end_s = time.monotonic() + limit_s
        while len(self.pids.keys() - apart_from) < count and self._next(end_s) is not None:
            pass
        return [pid for pid in self.pids if pid not in apart_from]

    def finish(self) -> Records:
        """Let what is under way end, and take the records.

        Raises:
            RuntimeError: The client has failed.
        """
        if self._process.poll() is None and not self._job.seconds:
            self._stdin.write(b"\n")
            self._stdin.flush()
        end_s = time.monotonic() + self._job.seconds + self._job.warm_s + self._job.timeout_s + GRACE_S
        while self._records is None and self._next(end_s) is not None:
            pass
        if self._records is None:
            raise RuntimeError(f"the client has left no records, exit code {self._process.poll()}")
        return self._records

    def _next(self, end_s: float) -> Note | None:
        """The next note; None after the last one, or at ``end_s``."""
        while b"\n" not in self._buffer:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not select.select([self._out], [], [], left_s)[0]:
                return None
            data = os.read(self._out, 1 << 20)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        told = _LINE.decode(line)
        if isinstance(told, Records):
            self._records = told
            return None
        if told.what == "pid":
            self.pids[told.pid] = told.at_s
        return told


def ask_once(job: Job, *, limit_s: float) -> float | None:
    """Ask again and again over one connection until there is an answer: when it came; None if none has in time."""
    with Load(job) as load:
        found = load.wait_for_pids(1, limit_s=limit_s)
        load.finish()
        return load.pids[found[0]] if found else None
