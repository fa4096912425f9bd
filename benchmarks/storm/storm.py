"""Drives one storm: measures calm steps at each worker count, then lets every fault of the schedule happen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import msgspec

from benchmarks.storm.accounts import Span
from benchmarks.storm.books import Books, Worker, is_alive
from benchmarks.storm.job import StormJob, send
from benchmarks.storm.schedule import Fault

POLL_S = 0.005
SAY_EVERY_S = 5.0
STUCK_S = 120.0
"""Without a commit for so long, the storm is called off: the job hangs."""
GONE_S = 30.0
"""A process that was hit must be gone by then."""


class StormError(Exception):
    """The job did not do what it should; the message says what."""


class Hit(msgspec.Struct):
    """One fault that was caused. ``gone_s``: when the process had ended (seconds of the machine's clock)."""

    kind: str
    pid: int
    at_s: float
    step: int
    joining: bool = False
    gone_s: float | None = None


class Storm:
    """One storm over one job."""

    def __init__(self, job: StormJob, *, workers: int, patience_s: float) -> None:
        self.job, self.workers, self.patience_s = job, workers, patience_s
        self.books = Books(job.books)
        self.hits: list[Hit] = []
        self.calm: list[Span] = []
        self.planned = 0
        self._moved_s = self._said_s = time.monotonic()
        self._step = -1

    # ------------------------------------------------------------ waiting

    def until(self, condition: Callable[[], bool], what: str, *, limit_s: float = float("inf")) -> None:
        """Follow the books until something holds.

        Raises:
            StormError: The job ended before, or no step was committed for too long, or ``limit_s`` passed.
        """
        end_s = time.monotonic() + limit_s
        while True:
            self.look()
            if condition():
                return
            now_s = time.monotonic()
            if self.job.code is not None:
                raise StormError(f"`pliant run` ended with exit code {self.job.code} before: {what}")
            if now_s - self._moved_s > STUCK_S:
                raise StormError(f"no step for {STUCK_S:.0f} s while waiting: {what}")
            if now_s > end_s:
                raise StormError(f"waited {limit_s:.0f} s in vain: {what}")
            time.sleep(POLL_S)

    def look(self) -> None:
        """Read the books, note who is gone, wake what hung and was expelled, say how far it is."""
        self.books.read()
        now_s = time.monotonic()
        self.books.note_gone(now_s)
        for hit in self.hits:
            if hit.gone_s is None:
                self._follow(hit, now_s)
        if self.books.step > self._step:
            self._step, self._moved_s = self.books.step, now_s
        if now_s - self._said_s > SAY_EVERY_S:
            self._said_s = now_s
            counts = ", ".join(f"{sum(h.kind == k for h in self.hits)} {k}" for k in ("kill", "hang", "coordinator"))
            print(
                f"step {self._step}: {len(self.hits)}/{self.planned} faults ({counts}), "
                f"{len(self.books.trainers)} training, {len(self.books.joiners)} joining",
                flush=True,
            )

    def _follow(self, hit: Hit, now_s: float) -> None:
        if not is_alive(hit.pid):
            hit.gone_s = now_s
        elif hit.kind == "hang" and now_s - hit.at_s > 5 * self.patience_s:
            send(hit.pid, signal.SIGCONT)  # it finds that it is not in the generation, and leaves
        elif hit.kind != "hang" and now_s - hit.at_s > GONE_S:
            raise StormError(f"process {hit.pid} has lived for {GONE_S:.0f} s after SIGKILL")
        if hit.gone_s is None and now_s - hit.at_s > GONE_S + 10 * self.patience_s:
            raise StormError(f"hung worker {hit.pid} was not expelled and did not leave when woken")

    # ------------------------------------------------------------ phases

    def calm_at(self, counts: list[int], *, steps: int) -> None:
        """Train undisturbed with each of these worker counts for a while: the yardstick for what is possible."""
        for count in counts:
            self.job.scale(count)
            self.until(lambda n=count: self.all_in(n), f"{count} workers train", limit_s=STUCK_S)  # type: ignore[misc]
            begin_s, first = time.monotonic(), self.books.step
            self.until(lambda to=first + steps: self.books.step >= to, f"{steps} calm steps")  # type: ignore[misc]
            self.calm.append(Span(begin_s, time.monotonic(), count))

    def all_in(self, count: int) -> bool:
        """Exactly so many train, and none joins."""
        return len(self.books.trainers) == count and not self.books.joiners

    def rage(self, faults: list[Fault]) -> None:
        """Let every fault happen at its step, or as soon as there is somebody whom it may hit."""
        self.planned = len(faults)
        for fault in faults:
            self.until(lambda f=fault: self.books.step >= f.step, f"step {fault.step}")  # type: ignore[misc]
            due_s = time.monotonic() + fault.delay * self._step_s()
            self.until(lambda to=due_s: time.monotonic() >= to, "the moment of the fault")  # type: ignore[misc]
            self.until(lambda f=fault: self._strike(f), f"a victim for {fault.kind}")  # type: ignore[misc]

    def _step_s(self) -> float:
        recent = [commit.time_s for worker in self.books.trainers[:1] for commit in worker.commits[-6:]]
        return (recent[-1] - recent[0]) / (len(recent) - 1) if len(recent) > 1 else 0.05

    def _strike(self, fault: Fault) -> bool:
        if fault.kind == "coordinator":
            pid = self.job.coordinator()
            return pid is not None and self._hit(fault.kind, pid, signal.SIGKILL)
        victim = self._victim(fault)
        if victim is None:
            return False
        number = signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP
        joining = victim.joins
        if not self._hit(fault.kind, victim.pid, number, joining=joining):
            return False
        victim.stopped_s = self.hits[-1].at_s
        return True

    def _victim(self, fault: Fault) -> Worker | None:
        """A joining worker where the fault would rather have one; never the only one that trains."""
        able = self.books.joiners if fault.newcomer and self.books.joiners else []
        if not able and len(self.books.trainers) >= 2:
            able = self.books.trainers
        return able[int(fault.pick * len(able))] if able else None

    def _hit(self, kind: str, pid: int, number: signal.Signals, *, joining: bool = False) -> bool:
        at_s = time.monotonic()
        if not send(pid, number):
            return False
        self.hits.append(Hit(kind, pid, at_s, self.books.step, joining))
        return True
