"""From what a client recorded to the numbers of the tables. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import TypeVar

import msgspec

from benchmarks.serving.load_records import Records
from benchmarks.spread import Spread, spread

BARE = "bare"


class Turn(msgspec.Struct, frozen=True):
    """One system for a second or two at one number of concurrent requests."""

    round: int
    system: str
    model: str
    batched: bool
    connections: int
    requests: int = 0
    """Answered in the window."""
    seconds: float = 0.0
    p50_s: float = 0.0
    p99_s: float = 0.0
    cpu_s: float = 0.0
    """Of all processes of the server, in the window."""
    client_share: float = 0.0
    """Of the window in which the client's one process was busy: near 1 it would be the bottleneck."""
    failures: dict[str, int] = {}
    problem: str = ""
    """Why there are no numbers."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def cpu_per_request_s(self) -> float:
        """Of the server."""
        return self.cpu_s / self.requests if self.requests else 0.0


class KillRun(msgspec.Struct, frozen=True):
    """One SIGKILL of one of two replicas under load."""

    system: str
    failed: int = 0
    """Requests that got an error, or whose connection was cut. Not those refused after the whole server had gone."""
    hung: int = 0
    """Requests without an answer within the time-out."""
    replaced_s: float | None = None
    """Until a process answered that had not been there before; None: none did."""
    kinds: dict[str, int] = {}
    went_down: bool = False
    """No process of the server was left."""
    problem: str = ""


class BurstRun(msgspec.Struct, frozen=True):
    """A burst that finds one replica (``burst``), or none (``zero``); or the start of a server (``start``)."""

    what: str
    system: str
    seconds: float | None
    failed: int = 0
    problem: str = ""


class MemoryRun(msgspec.Struct, frozen=True):
    """An idle server, after all of its replicas have answered."""

    system: str
    model: str
    replicas: int
    processes: int = 0
    pss_bytes: int = 0
    private_bytes: int = 0
    """Of the replicas."""
    problem: str = ""


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of them do not exceed (nearest rank); of at least one value."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def in_window(records: Records) -> list[float]:
    """The latencies of the answers that came in the window."""
    begin_s, end_s = records.window_begin_s, records.window_end_s
    first, last = (bisect_right(records.ended_s, at_s) for at_s in (begin_s, end_s))
    return records.latency_s[first:last]


def failures_of(records: Records) -> dict[str, int]:
    """How many of which kind, over the whole run."""
    return dict(Counter(failure.kind for failure in records.failures))


def turn_of(empty: Turn, records: Records, cpu_s: float) -> Turn:
    """The numbers of one turn."""
    latencies = in_window(records)
    seconds = records.window_end_s - records.window_begin_s
    return msgspec.structs.replace(
        empty,
        requests=len(latencies),
        seconds=seconds,
        p50_s=quantile(latencies, 0.5) if latencies else 0.0,
        p99_s=quantile(latencies, 0.99) if latencies else 0.0,
        cpu_s=cpu_s,
        client_share=records.client_cpu_s / seconds if seconds else 0.0,
        failures=failures_of(records),
        problem="" if latencies else "no request was answered",
    )


def kill_of(system: str, records: Records, *, replaced_s: float | None, went_down: bool) -> KillRun:
    """What one kill cost. The client's run was for this kill alone, so all failures belong to it."""
    kinds = failures_of(records)
    hung = kinds.get("hung", 0)
    refused = kinds.get("refused", 0) if went_down else 0
    failed = sum(kinds.values()) - hung - refused
    return KillRun(system, failed, hung, replaced_s, kinds, went_down)


# ------------------------------------------------------------ over several runs

Run = TypeVar("Run")


def over(runs: Iterable[Run], value: Callable[[Run], float | None]) -> Spread | None:
    """Median and quartiles over the runs that have this number; None if none has."""
    values = [found for run in runs if (found := value(run)) is not None]
    return spread(values) if values else None


def turns_of(turns: Iterable[Turn], system: str, model: str, connections: int, *, batched: bool) -> list[Turn]:
    """The good turns of one cell, by round."""
    wanted = (system, model, connections, batched)
    found = [turn for turn in turns if (turn.system, turn.model, turn.connections, turn.batched) == wanted]
    return sorted((turn for turn in found if not turn.problem), key=lambda turn: turn.round)


def ratios(turns: Sequence[Turn], cell: Sequence[Turn], value: Callable[[Turn], float]) -> list[float]:
    """A cell's numbers over the bare process's of the same round."""
    found = []
    for turn in cell:
        for bare in turns_of(turns, BARE, turn.model, turn.connections, batched=False):
            if bare.round == turn.round and value(bare):
                found.append(value(turn) / value(bare))
    return found


def weights_bytes(runs: Sequence[MemoryRun], system: str, replicas: int, *, large: str, small: str) -> int | None:
    """What the large model's weights take: the server's memory with it, less that with a small one."""
    found = {run.model: run for run in runs if (run.system, run.replicas) == (system, replicas) and not run.problem}
    if large not in found or small not in found:
        return None
    return found[large].pss_bytes - found[small].pss_bytes
