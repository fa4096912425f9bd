"""How fast a restarted coordinator is where it was: the journal of a long and restless job, replayed.

The inputs are those of a job of three workers that commits steps (five reports a second) while every twentieth second a
worker dies, is recovered from, and replaced. The aim is 100,000 of them in a second of processor time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from benchmarks.spread import Spread, spread
from pliant.control import inputs as given
from pliant.control.journal import Journal
from pliant.control.replay import replay
from pliant.wire.agent_messages import AgentHello, WorkerExited, WorkerStarted
from pliant.wire.api import JobSpec
from pliant.wire.messages import GenerationEntered, Interrupted, StepsCommitted, WorkerHello, WorkerReady

INPUTS = 100_000
REPORTS_BETWEEN_DEATHS = 100
STEPS_A_REPORT = 4
REPORT_S = 0.2
SPEC = JobSpec("long", "train.py", min_workers=1, max_workers=4, start_workers=3)


class ReplayResult(msgspec.Struct, frozen=True):
    """``cpu_s``: of this process, reading SQLite included."""

    inputs: int
    deaths: int
    cpu_s: Spread


def measure(*, repeats: int) -> ReplayResult:
    """Write the journal once and replay it ``repeats`` times.

    Raises:
        RuntimeError: The replayed job is not where it was.
    """
    with tempfile.TemporaryDirectory(prefix="pliant-replay-") as directory:
        journal = Journal(Path(directory, "journal.sqlite"))
        journal.put_job("id", SPEC)
        deaths = 0
        for number, item in enumerate(islice(history(), INPUTS)):
            deaths += isinstance(item, given.AgentSaid) and isinstance(item.message, WorkerExited)
            time_s = number * REPORT_S
            journal.record("id", given.Entry(given.Moment(time_s, time_s, number), item))
        times_s = []
        for _ in range(repeats):
            began_s = time.process_time()
            job = replay("id", SPEC, journal.entries("id"))
            times_s.append(time.process_time() - began_s)
            if job is None or len([event for event in job.events() if event.kind == "worker_lost"]) != deaths:
                raise RuntimeError("the replayed job has not seen all deaths")
        journal.close()
    return ReplayResult(INPUTS, deaths, spread(times_s))


def history() -> Iterator[given.Input]:
    """For ever."""
    yield given.JobCreated()
    yield given.AgentConnected(AgentHello("long", "here", 1))
    members, newest, generation, step, now_s = ["w1", "w2", "w3"], 3, 1, 0, 0.0
    for worker in members:
        yield from _arrival(worker)
    yield from _entries(members, generation, step)
    while True:
        for _ in range(REPORTS_BETWEEN_DEATHS):
            now_s += REPORT_S
            times_s = [now_s + REPORT_S * part / STEPS_A_REPORT for part in range(STEPS_A_REPORT)]
            yield given.WorkerSaid(members[0], StepsCommitted(step, times_s, [0.5] * STEPS_A_REPORT, 0, step * 64))
            step += STEPS_A_REPORT
        dead, *members = members
        newest += 1
        yield given.AgentSaid(WorkerExited(dead, int(dead[1:]), -9))
        for worker in members:
            yield given.WorkerSaid(worker, Interrupted(generation, stateful=True, entered=generation))
        yield from _entries(members, generation + 1, step)
        yield from _arrival(f"w{newest}")
        members, generation = [*members, f"w{newest}"], generation + 2
        yield from _entries(members, generation, step)


def _arrival(worker: str) -> Iterator[given.Input]:
    pid = int(worker[1:])
    yield given.AgentSaid(WorkerStarted(worker, pid))
    yield given.WorkerConnected(WorkerHello("long", worker, pid, "127.0.0.1", 1))
    yield given.WorkerSaid(worker, WorkerReady(8, 64))


def _entries(members: list[str], generation: int, step: int) -> Iterator[given.Input]:
    for worker in members:
        yield given.WorkerSaid(worker, GenerationEntered(generation, step, [0]))


if __name__ == "__main__":
    print(measure(repeats=5))
