"""Reads what the workers of a run have written down for ``pliant verify``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pliant.wire.trace import Line, TraceEntered, TraceMean, TraceNames, TraceShard, TraceState

_LINE = msgspec.json.Decoder(Line)


@dataclass(frozen=True)
class State:
    """The state before a step on one worker."""

    digests: Mapping[str, str]
    """By name, in order."""
    threads: int
    changed: tuple[str, ...] = ()
    """By the body of the loop before that."""


@dataclass
class Run:
    """All that the workers of one run have written down."""

    states: dict[int, dict[str, State]] = field(default_factory=dict)
    """Step -> worker -> state before it."""
    shards: dict[tuple[int, int], dict[int, dict[str, TraceShard]]] = field(default_factory=dict)
    """(Step, pass) -> shard -> worker -> what it computed. Several have a shard that was computed again."""
    means: dict[tuple[int, int], dict[str, str]] = field(default_factory=dict)
    """(Step, pass) -> worker -> mean gradient."""
    entered: dict[str, list[TraceEntered]] = field(default_factory=dict)
    """Worker -> the generations that it trained in."""

    def joined_at(self, worker: str) -> int | None:
        """The step before which this worker received the state from others; None: it was there from the start."""
        return next((line.step for line in self.entered.get(worker, []) if line.newcomer), None)


def gather(lines: Mapping[str, Iterable[Line]]) -> Run:
    """One run from its workers' lines. Pure."""
    run = Run()
    for worker, written in lines.items():
        names: list[str] = []
        for line in written:
            match line:
                case TraceNames():
                    names = line.names
                case TraceEntered():
                    run.entered.setdefault(worker, []).append(line)
                case TraceState():
                    state = State(dict(zip(names, line.digests, strict=True)), line.threads, tuple(line.changed))
                    run.states.setdefault(line.step, {})[worker] = state
                case TraceShard():
                    of_pass = run.shards.setdefault((line.step, line.pass_number), {})
                    of_pass.setdefault(line.shard, {})[worker] = line
                case TraceMean():
                    run.means.setdefault((line.step, line.pass_number), {})[worker] = line.gradient
    return run


def read_run(directory: Path) -> Run:
    """The traces below ``directory``. A last line that is not whole (its worker was killed) is left out."""
    found: dict[str, list[Line]] = {}
    for path in sorted(directory.glob("trace-*.jsonl"), key=lambda path: (len(path.name), path.name)):
        worker = path.stem.removeprefix("trace-")
        complete, _, _ = path.read_bytes().rpartition(b"\n")
        found[worker] = [_LINE.decode(line) for line in complete.split(b"\n") if line]
    return gather(found)
