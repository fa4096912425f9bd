"""What could have been measured of parameter servers, for tests of what is made of it."""

from __future__ import annotations

from benchmarks.servers.accounts import DenseResult, Footprint, ServerChange
from benchmarks.servers.straggler_accounts import StragglerRun
from benchmarks.spread import spread

from pliant.wire.api import Event, Report

ONE = spread([1.0])
MB = 1_000_000


def footprint(megabytes: float) -> Footprint:
    return Footprint(*[int(megabytes * MB)] * 4)


def strategy(
    workers: int,
    servers: int,
    *,
    over: float | None = None,
    pss: float = 500,
    sha: str = "a",
    group="strategies",
    samples: int = 64,
):
    """A result of the model with ten million parameters; as many copies as servers."""
    return DenseResult(
        group=group,
        model="wide",
        parameters=10 * MB,
        workers=workers,
        servers=servers,
        copies=servers,
        batch=f"8 x {samples // 8} samples",
        samples=samples,
        step_s=ONE,
        over_workers=None if over is None else spread([over]),
        over_processes=None,
        worker=footprint(pss),
        server=footprint(300) if servers else None,
        beyond_bytes=170 * MB,
        sha256=sha,
    )


def change(what: str, servers: int = 2, *, stall_s: float = 0.01, slot_copies: int = 0, moved: float = 1 / 3):
    """``moved``: part of all bytes, which are 240 MB."""
    moved_bytes = int(moved * 240 * MB)
    return ServerChange("wide", what, servers, 0.05, stall_s, 0.0, 0.5, moved_bytes, slot_copies, 120 * MB)


def straggler_run(mode: str, *, number: int = 0, rate: float = 100.0, staleness=None, samples: int = 900):
    return StragglerRun(mode, number, 200.0, rate, 1.5, samples, 900, staleness or {})


def event(seq: int, kind: str, *, step: int, time_s: float, message: str = "", **more) -> Event:
    return Event(seq, time_s, "job", kind, step, message, **more)


def report_of(events: list[Event], times_s: list[float], **more) -> Report:
    found = {
        "name": "job",
        "state": "finished",
        "script": "s.py",
        "steps": len(times_s),
        "samples": 1,
        "wall_s": times_s[-1],
        "median_step_s": 0.1,
        "goodput": 1.0,
        "final_loss": 1.0,
        "weights_sha256": "0" * 64,
        "events": events,
        "commit_times_s": times_s,
        "losses": [1.0] * len(times_s),
        "workers_over_time": [(0.0, 2)],
    }
    return Report(**found | more)
