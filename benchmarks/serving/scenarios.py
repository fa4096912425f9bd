"""One measurement each: a turn of load, a kill, a burst, a start, a look at the memory."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.processes import environment, run_python
from benchmarks.serving.accounts import BurstRun, KillRun, MemoryRun, Turn, kill_of, turn_of
from benchmarks.serving.base import PATH, Server, StartError, System
from benchmarks.serving.load import Load
from benchmarks.serving.load_records import Job
from benchmarks.serving.order import Order
from benchmarks.serving.usage import cpu_s, memory

READY_LIMIT_S = 90.0
POLL_S = 0.02


@dataclass(frozen=True)
class Question:
    """One model's request, and its answer as it comes out without any server."""

    body: str
    expected: list[list[float]]


def questions() -> dict[str, Question]:
    """By model; computed in a process of its own, as this one must not map torch's pages."""
    command = run_python("-m", "benchmarks.serving.prepare")
    done = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE)
    return {name: Question(body, expected) for name, (body, expected) in json.loads(done.stdout).items()}


def check(answer: Any, expected: list[list[float]], *, with_pid: bool) -> None:
    """Whether a server computes the right thing.

    Raises:
        StartError: It does not.
    """
    rows = answer["output"] if with_pid else answer
    if len(rows) != 1 or len(rows[0]) != len(expected[0]):
        raise StartError(f"the answer is {str(answer)[:100]}, and should be {str(expected)[:100]}")
    worst = max(abs(got - right) for got, right in zip(rows[0], expected[0], strict=True))
    if worst > 1e-4:
        raise StartError(f"the answer is off by {worst:g}")


def wait_until_right(server: Server, order: Order, question: Question) -> None:
    """Until the server answers, and rightly.

    Raises:
        StartError: It does not within 90 s, or wrongly.
    """
    end_s, last = time.monotonic() + READY_LIMIT_S, "nothing"
    while time.monotonic() < end_s:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        try:
            connection.request("POST", PATH, question.body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status == 200:
                check(json.loads(content), question.expected, with_pid=order.pids)
                return
            last = f"status {response.status}"
        except (OSError, http.client.HTTPException) as error:
            last = str(error)
        finally:
            connection.close()
        time.sleep(POLL_S)
    raise StartError(f"no answer within {READY_LIMIT_S:.0f} s; the last try: {last}; its log: {server.tail()}")


def job(server: Server, question: Question, **more: Any) -> Job:
    """For this server."""
    return Job(port=server.port, path=PATH, body=question.body, **more)


# ------------------------------------------------------------ throughput


def turns(server: Server, empty: Turn, order: Order, question: Question, plan: Sequence[Any]) -> Iterator[Turn]:
    """Start, then a turn at each number of concurrent requests. ``plan``: the numbers; warm-up and window, seconds."""
    numbers, warm_s, seconds = plan
    try:
        server.start(order)
        wait_until_right(server, order, question)
    except (StartError, subprocess.TimeoutExpired) as error:
        server.end()  # the next order finds nothing half started
        yield from (msgspec.structs.replace(empty, connections=number, problem=str(error)) for number in numbers)
        return
    for number in numbers:
        pids = server.pids()
        with Load(job(server, question, connections=number, warm_s=warm_s, seconds=seconds, timeout_s=20.0)) as load:
            load.wait("window", limit_s=warm_s + 30)
            before_s = cpu_s(pids)
            load.wait("over", limit_s=seconds + 30)
            used_s = cpu_s(pids) - before_s
            records = load.finish()
        yield turn_of(msgspec.structs.replace(empty, connections=number), records, used_s)


# ------------------------------------------------------------ kills

HANG_S = 5.0
REPLACED_LIMIT_S = 30.0
KILL_CLIENTS = 16
KILL_ORDER = Order("gpt", replicas=2, batch=8, pids=True)


def kill(system: System, server: Server, question: Question) -> KillRun:
    """SIGKILL of one of two replicas under load. A server that is not there is started first."""
    try:
        if not server.pids():
            server.start(KILL_ORDER)
            wait_until_right(server, KILL_ORDER, question)
    except (StartError, subprocess.TimeoutExpired) as error:
        server.end()
        return KillRun(system.name, problem=str(error))
    clients = job(server, question, connections=KILL_CLIENTS, fresh=4, timeout_s=HANG_S, pids=True)
    with Load(clients) as load:
        there = load.wait_for_pids(2, limit_s=READY_LIMIT_S)
        if len(there) < 2:
            return KillRun(system.name, problem=f"{len(there)} of two replicas answered")
        killed_s = time.monotonic()
        os.kill(there[0], signal.SIGKILL)
        new: list[int] = []
        while not new and time.monotonic() < killed_s + REPLACED_LIMIT_S and server.pids():
            new = load.wait_for_pids(1, apart_from=frozenset(there), limit_s=1.0)
        went_down = not server.pids()
        records = load.finish()
    if went_down:
        server.end()
    replaced_s = load.pids[new[0]] - killed_s if new else None
    return kill_of(system.name, records, replaced_s=replaced_s, went_down=went_down)


# ------------------------------------------------------------ bursts and starts

BURST_CLIENTS = 32
BURST_ORDER = Order("slow", replicas=1, most=4, batch=1, target=8, pids=True)
ZERO_ORDER = Order("mlp", replicas=0, most=4, batch=8, target=8, pids=True)
START_ORDER = Order("mlp", pids=True)
SETTLE_S = 1.0


def burst(system: System, server: Server, question: Question, *, limit_s: float) -> BurstRun:
    """From one idle replica to the second one's first answer, with 32 requests at once."""
    try:
        server.start(BURST_ORDER)
        wait_until_right(server, BURST_ORDER, question)
    except (StartError, subprocess.TimeoutExpired) as error:
        return BurstRun("burst", system.name, None, problem=str(error))
    time.sleep(SETTLE_S)  # idle
    return _first_answers(
        "burst", system, job(server, question, connections=BURST_CLIENTS, pids=True), limit_s, count=2
    )


def from_zero(system: System, server: Server, question: Question, *, limit_s: float) -> BurstRun:
    """From no replica to the first answer, with one request."""
    try:
        server.start(ZERO_ORDER)
        server.wait_until_loaded()
    except (StartError, subprocess.TimeoutExpired) as error:
        return BurstRun("zero", system.name, None, problem=str(error))
    time.sleep(SETTLE_S)
    return _first_answers("zero", system, job(server, question, connections=1, pids=True), limit_s, count=1)


def _first_answers(what: str, system: System, clients: Job, limit_s: float, *, count: int) -> BurstRun:
    """When so many processes have answered, counted from the first byte that the client sent."""
    with Load(clients) as load:
        pids = load.wait_for_pids(count, limit_s=limit_s)
        records = load.finish()
    seconds = load.pids[pids[count - 1]] - records.began_s if len(pids) >= count else None
    problem = "" if seconds is not None else f"{len(pids)} of {count} processes answered within {limit_s:.0f} s"
    return BurstRun(what, system.name, seconds, len(records.failures), problem)


def start(system: System, server: Server, question: Question, *, limit_s: float) -> BurstRun:
    """From the command to the first 200, by a client that tries every 20 ms."""
    with Load(job(server, question, connections=1, pids=True)) as load:
        load.wait("begun", limit_s=limit_s)
        began_s = time.monotonic()
        try:
            server.start_by_command(START_ORDER)
        except (StartError, subprocess.TimeoutExpired) as error:
            return BurstRun("start", system.name, None, problem=str(error))
        pids = load.wait_for_pids(1, limit_s=limit_s)
        load.finish()
    if not pids:
        return BurstRun("start", system.name, None, problem=f"no answer within {limit_s:.0f} s: {server.tail()}")
    return BurstRun("start", system.name, load.pids[pids[0]] - began_s)


def import_torch() -> float:
    """Seconds that a process takes whose only work is to import it."""
    began_s = time.monotonic()
    subprocess.run(run_python("-c", "import torch"), env=environment(), check=True)
    return time.monotonic() - began_s


# ------------------------------------------------------------ memory


def look_at_memory(system: System, server: Server, order: Order, question: Question) -> MemoryRun:
    """All processes of the idle server, after every replica has answered."""
    empty = MemoryRun(system.name, order.model, order.replicas)
    try:
        server.start(order)
        wait_until_right(server, order, question)
    except (StartError, subprocess.TimeoutExpired) as error:
        server.end()
        return msgspec.structs.replace(empty, problem=str(error))
    clients = job(server, question, connections=4 * order.replicas, fresh=4 * order.replicas, pids=True)
    with Load(clients) as load:
        replicas = load.wait_for_pids(order.replicas, limit_s=READY_LIMIT_S)
        load.finish()
    if len(replicas) < order.replicas:
        return msgspec.structs.replace(empty, problem=f"{len(replicas)} of {order.replicas} replicas answered")
    time.sleep(SETTLE_S)  # idle
    pids = server.pids()
    return msgspec.structs.replace(
        empty,
        processes=len(pids),
        pss_bytes=memory(pids).pss_bytes,
        private_bytes=memory(replicas).private_bytes,
    )


def directory_of(base: Path, system: System, number: int) -> Path:
    """A short one: sockets lie in it."""
    return base / f"{system.name[:3]}{number}"
