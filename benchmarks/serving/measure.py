"""The whole comparison: which measurements there are, in which order. Systems take turns: noise hits all alike."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.measure import say
from benchmarks.peers.processes import Unit, environment, free_port, run_python
from benchmarks.serving import scenarios
from benchmarks.serving.accounts import BurstRun, KillRun, MemoryRun, Turn, turn_of
from benchmarks.serving.base import PATH, Server, System
from benchmarks.serving.load import Load
from benchmarks.serving.load_records import Job
from benchmarks.serving.order import Order
from benchmarks.serving.scenarios import Question
from benchmarks.serving.shapes import LARGE, SMALL

BATCH = 32


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 3
    models: tuple[str, ...] = ("mlp", "cnn", "gpt")
    connections: tuple[int, ...] = (1, 8, 32, 64)
    warm_s: float = 0.25
    seconds: float = 1.0
    kills: int = 10
    bursts: int = 3
    starts: int = 3
    replicas: tuple[int, ...] = (1, 2, 4)
    burst_limit_s: float = 90.0
    variants: bool = True


QUICK = Plan(
    rounds=1,
    models=("mlp", "gpt"),
    connections=(1, 32),
    seconds=0.7,
    kills=1,
    bursts=1,
    starts=1,
    replicas=(2,),
    variants=False,
)


@contextmanager
def running(system: System) -> Iterator[Server]:
    """A server in a directory of its own; everything is gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="srv-"))
    server = system.create(base / "s")
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(base, ignore_errors=True)


def able(systems: Sequence[System], what: str, plan: Plan, *, number: int = 0) -> list[System]:
    """Those that are measured in this scenario, for the ``number``-th time."""
    return [
        system
        for system in systems
        if what in system.reported
        and what not in system.lacks
        and number < system.most.get(what, number + 1)
        and (plan.variants or not system.variant)
    ]


# ------------------------------------------------------------ parts


def measure_client(question: Question, plan: Plan) -> Iterator[Turn]:
    """The client against a server that does next to nothing: what it can measure at all."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="srv-") as directory:
        unit = Unit(
            run_python("-m", "benchmarks.serving.trivial", "--port", str(port)), environment(), Path(directory, "log")
        )
        try:
            for number in plan.connections:
                job = Job(port, PATH, question.body, number, warm_s=1.0, seconds=plan.seconds)
                with Load(job) as load:
                    turn = turn_of(Turn(0, "trivial", "none", False, number), load.finish(), 0.0)
                yield turn
                say(f"client against a trivial server, {number} connections: {_told(turn)}")
        finally:
            unit.close()


def measure_throughput(systems: Sequence[System], asked: dict[str, Question], plan: Plan) -> Iterator[Turn]:
    """Every system, model and number of concurrent requests, ``plan.rounds`` times; every other round backwards."""
    for number in range(plan.rounds):
        for system in able(systems, "throughput", plan)[:: -1 if number % 2 else 1]:
            with running(system) as server:
                for model in system.models or plan.models:
                    for batched in (False, True) if system.batches else (False,):
                        order = Order(model, batch=BATCH if batched else 1)
                        empty = Turn(number, system.name, model, batched, 0)
                        timing = (plan.connections, plan.warm_s, plan.seconds)
                        for turn in scenarios.turns(server, empty, order, asked[model], timing):
                            yield turn
                            how = "batched" if batched else "single"
                            what = f"{model}, {how}, {turn.connections} at a time, {system.name}"
                            say(f"throughput, round {number + 1}/{plan.rounds}: {what}: {_told(turn)}")


def measure_starts(systems: Sequence[System], asked: dict[str, Question], plan: Plan) -> Iterator[BurstRun]:
    """From the command to the first 200, and ``import torch`` beside it."""
    for number in range(plan.starts):
        yield (run := BurstRun("start", "import torch", scenarios.import_torch()))
        say(f"start, {number + 1}/{plan.starts}: import torch: {run.seconds:.2f} s")
        for system in able(systems, "start", plan):
            with running(system) as server:
                run = scenarios.start(system, server, asked[scenarios.START_ORDER.model], limit_s=90.0)
            yield run
            say(f"start, {number + 1}/{plan.starts}: {system.name}: {_seconds(run)}")


def measure_bursts(systems: Sequence[System], asked: dict[str, Question], plan: Plan) -> Iterator[BurstRun]:
    """From one replica to several, and from none to one."""
    for number in range(plan.bursts):
        for what, measure, order in (
            ("burst", scenarios.burst, scenarios.BURST_ORDER),
            ("zero", scenarios.from_zero, scenarios.ZERO_ORDER),
        ):
            for system in able(systems, what, plan, number=number):
                with running(system) as server:
                    run = measure(system, server, asked[order.model], limit_s=plan.burst_limit_s)
                yield run
                say(f"{what}, {number + 1}/{plan.bursts}: {system.name}: {_seconds(run)}")


def measure_kills(systems: Sequence[System], asked: dict[str, Question], plan: Plan) -> Iterator[KillRun]:
    """One system after the other: its server is kept from one kill to the next if it survives."""
    for system in able(systems, "kill", plan):
        with running(system) as server:
            for number in range(min(plan.kills, system.most.get("kill", plan.kills))):
                run = scenarios.kill(system, server, asked[scenarios.KILL_ORDER.model])
                yield run
                say(f"kill, {number + 1}/{plan.kills}: {system.name}: {_kill(run)}")


def measure_memory(systems: Sequence[System], asked: dict[str, Question], plan: Plan) -> Iterator[MemoryRun]:
    """Every number of replicas of a small and of a large model."""
    for system in able(systems, "memory", plan):
        with running(system) as server:
            for model in (SMALL, LARGE):
                for replicas in plan.replicas:
                    order = Order(model, replicas=replicas, pids=True)
                    run = scenarios.look_at_memory(system, server, order, asked[model])
                    yield run
                    told = run.problem or f"{run.pss_bytes / 2**20:.0f} MiB in {run.processes} processes"
                    say(f"memory, {system.name}, {model}, {replicas} replicas: {told}")


# ------------------------------------------------------------ lines of progress


def _told(turn: Turn) -> str:
    if turn.problem:
        return turn.problem
    parts = [f"{turn.rate:.0f}/s, p50 {turn.p50_s * 1e3:.1f} ms, p99 {turn.p99_s * 1e3:.1f} ms"]
    parts.append(f"cpu {turn.cpu_per_request_s * 1e3:.2f} ms, client {turn.client_share:.0%}")
    parts += [f"failures {turn.failures}"] if turn.failures else []
    return ", ".join(parts)


def _seconds(run: BurstRun) -> str:
    failed = f", {run.failed} failed" if run.failed else ""
    return (run.problem or f"{run.seconds:.2f} s") + failed


def _kill(run: KillRun) -> str:
    replaced = "no replacement" if run.replaced_s is None else f"replaced after {run.replaced_s:.2f} s"
    down = ", the whole server went down" if run.went_down else ""
    return run.problem or f"{run.failed} failed, {run.hung} hung, {replaced}{down} {run.kinds or ''}"
