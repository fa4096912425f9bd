"""One run of one system: undisturbed, or with one change. Everything that is told comes from the books."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.peers.base import Job, StartError, System, Work
from benchmarks.peers.history import History, read_books

CALM_STEPS = 12
"""Steps with all workers before anything is done to them."""
START_LIMIT_S = 150.0
STEP_ENOUGH = 40
WORKERS = {"kill": (3, 2), "grow": (2, 3), "leave": (3, 2)}
"""Change -> workers before and after."""


class ChangeRun(msgspec.Struct):
    """What one run with one change gave; ``failure`` is empty if it went on and ended well."""

    system: str
    what: str
    failure: str = ""
    stall_s: float | None = None
    ordinary_s: float | None = None
    joined_s: float | None = None
    redone: int | None = None
    never: int | None = None
    twice: int | None = None
    same_weights: bool | None = None
    wall_s: float = 0.0


class Ended(msgspec.Struct):
    """An undisturbed run."""

    failure: str
    step_s: float | None
    sha256: str | None


class Watch:
    """Follows one job's books, and gives up when nothing moves."""

    def __init__(self, job: Job, hang_s: float) -> None:
        self.job, self.hang_s = job, hang_s

    def history(self) -> History:
        """As far as it is written."""
        return History(read_books(self.job.books))

    def until(self, condition: Callable[[History], bool], limit_s: float | None = None) -> str:
        """Wait; returns why it ended without ("" if the condition came true)."""
        limit_s = limit_s or self.hang_s
        seen, since_s = -1, time.monotonic()
        while True:
            history = self.history()
            if condition(history):
                return ""
            if self.job.is_over():
                return "" if condition(self.history()) else "the run ended"
            if len(history.commits) != seen:
                seen, since_s = len(history.commits), time.monotonic()
            if time.monotonic() - since_s > limit_s:
                return f"nothing moved for {limit_s:.0f} s"
            time.sleep(0.1)


def is_calm(history: History, workers: int, steps: int = CALM_STEPS) -> bool:
    """Whether the last steps were all done by so many (the very last one may be under way)."""
    rounds = history.rounds[-steps - 1 : -1]
    return len(rounds) == steps and all(len(each) == workers for each in rounds)


def undisturbed(system: System, work: Work, workers: int, *, hang_s: float, whole: bool) -> Ended:
    """Train on so many workers; ``whole``: to the end, otherwise until there are enough steps to measure."""
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        job = system.create(Path(name, "run"), work, (workers, workers))
        try:
            watch = Watch(job, hang_s)
            failure = _start(job, workers) or watch.until(lambda history: bool(history.commits), START_LIMIT_S)
            if not failure:
                over = (lambda _: job.is_over()) if whole else (lambda history: is_calm(history, workers, STEP_ENOUGH))
                failure = watch.until(over)
            history = watch.history()
            hashes = history.final_hashes()
            if whole and len(hashes) != 1:
                failure = failure or f"{len(hashes)} different final weights"
            return Ended(failure + _tail(job, failure), _step_s(history, workers), min(hashes, default=None))
        finally:
            job.close()


def change(system: System, what: str, work: Work, reference: str | None, *, hang_s: float) -> ChangeRun:
    """Start, wait for calm, change, and watch to the end. ``what``: kill, grow or leave."""
    began_s = time.monotonic()
    run = ChangeRun(system.name, what)
    before, after = WORKERS[what]
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        job = system.create(Path(name, "run"), work, (2, 3))
        try:
            watch = Watch(job, hang_s)
            failure = _start(job, before) or watch.until(lambda history: is_calm(history, before), START_LIMIT_S)
            if failure:
                run.failure = f"before the change: {failure}" + _tail(job, failure)
                return run
            at_s = _do(job, what, watch.history())
            failure = watch.until(lambda _: job.is_over())
            measure(run, watch.history(), at_s, work)
            run.failure = judge(watch.history(), job, at_s, failure, after)
            run.failure += _tail(job, run.failure)
            hashes = watch.history().final_hashes()
            run.same_weights = None if reference is None or not hashes else hashes == {reference}
        finally:
            job.close()
            run.wall_s = time.monotonic() - began_s
    return run


def _start(job: Job, workers: int) -> str:
    """Why it could not be started, "" if it was."""
    try:
        job.start(workers)
    except StartError as error:
        return str(error)
    return ""


def _do(job: Job, what: str, history: History) -> float:
    """Make the change; returns when it was ordered."""
    living = [commit.process for commit in history.rounds[-2]]
    pids = [process.pid for process in sorted(history.processes, key=lambda p: p.began_s) if process.name in living]
    at_s = time.monotonic()
    if what == "kill":
        job.kill(pids)
    elif what == "grow":
        job.grow()
    else:
        job.leave()
    return at_s


def measure(run: ChangeRun, history: History, at_s: float, work: Work) -> None:
    """Fill in what the books say."""
    before, after = WORKERS[run.what]
    run.ordinary_s = history.ordinary_s(at_s, workers=before)
    centre_s, ahead, behind = at_s, 3, 0
    if run.what != "kill":
        settled_s = history.settled_at_s(after, after_s=at_s)
        if settled_s is None:
            centre_s = -1.0
        elif run.what == "grow":
            centre_s, behind, run.joined_s = settled_s, 2, settled_s - at_s
        else:
            # from the order to the first steps without the one that left
            ahead += sum(at_s < each[0].time_s <= settled_s for each in history.rounds)
    if centre_s >= 0:
        run.stall_s = history.stall_s(centre_s, ahead=ahead, behind=behind, ordinary_s=run.ordinary_s)
    run.redone = history.redone(at_s)
    run.never, run.twice = history.samples(of=work.batch * work.steps)


def judge(history: History, job: Job, at_s: float, failure: str, after: int) -> str:
    """What went wrong, "" if nothing did."""
    finished = sum(process.end_sha is not None for process in history.processes)
    if finished == 0:
        return failure or ("the run died" if job.failed() else "nobody came to the end")
    problems = [failure] if failure else []
    if history.went_back_to_zero(at_s):
        problems.append("went back to step 0")
    if len(history.final_hashes()) > 1:
        problems.append("workers ended with different weights")
    if finished < after:
        problems.append(f"only {finished} of {after} workers came to the end")
    return "; ".join(problems)


def _step_s(history: History, workers: int) -> float | None:
    times_s = [each[0].time_s for each in history.rounds if len(each) == workers]
    gaps = [after - before for before, after in pairwise(times_s)][3:]
    return median(gaps) if gaps else None


def _tail(job: Job, failure: str) -> str:
    """The last exception that the log tells of, for the results."""
    if not failure or not job.log().exists():
        return ""
    lines = re.findall(r"^[\w.]*(?:Error|Exception)\b: .*", job.log().read_text(errors="replace"), re.MULTILINE)
    return f" ({lines[-1][:160]})" if lines else ""
