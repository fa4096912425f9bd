"""What was measured, as values. Pure; from reports of real runs where they say it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import msgspec

from benchmarks.spread import Spread
from pliant.wire.api import Event, Report

PRECEDING = 50
"""So many gaps between commits before an event tell how long a step usually takes."""
SLOTS = 64


class Footprint(msgspec.Struct, frozen=True):
    """Memory of one process."""

    pss_bytes: int
    """Private pages, and of each shared one its part."""
    private_bytes: int
    rss_bytes: int
    peak_bytes: int
    """Of RSS."""


class DenseResult(msgspec.Struct, frozen=True):
    """One strategy on one number of processes. Ratios are those of the median steps of each round."""

    group: str
    model: str
    parameters: int
    workers: int
    servers: int
    copies: int
    batch: str
    samples: int
    """Rows, or tokens, of a step."""
    step_s: Spread
    over_workers: Spread | None
    """Over all-reduce with as many workers; None for itself."""
    over_processes: Spread | None
    """Over all-reduce with as many workers as there are processes here; None if that was not run."""
    worker: Footprint
    server: Footprint | None
    beyond_bytes: int | None = None
    """The peak of a worker's RSS less that with its model built and nothing else; None if no worker told."""
    sha256: str | None = None

    @property
    def label(self) -> str:
        """The strategy in words."""
        if not self.servers:
            return "all-reduce"
        plural = "server" if self.servers == 1 else "servers"
        return f"{self.servers} {plural}, {self.copies} {'copy' if self.copies == 1 else 'copies'}"

    @property
    def gigaflop(self) -> float:
        """Of a step, forward and backward: about 6 for each parameter and sample."""
        return 6 * self.parameters * self.samples / 1e9


class ServerChange(msgspec.Struct, frozen=True):
    """One death or one addition of a server. ``seconds``: until all slots had their holders again."""

    model: str
    what: str
    servers: int
    """Before it."""
    step_s: float
    stall_s: float
    calm_s: float
    """The same measure over as many steps in which nothing happened, right before."""
    seconds: float
    bytes_moved: int
    slot_copies: int
    """That a newcomer got; 0 after a death."""
    state_bytes: int
    """One copy of everything that servers hold."""


def changes_of(report: Report, *, model: str, servers: int, state_bytes: int) -> list[ServerChange]:
    """The deaths and additions of one job that began with so many servers.

    Raises:
        RuntimeError: An event has no end in the report.
    """
    found = []
    for place, event in enumerate(report.events):
        after = report.events[place + 1 :]
        if event.kind == "server_lost":
            told = _Told(model, "kill", servers, state_bytes)
            found.append(_change(report, told, event, _next(after, "slots_restored", event)))
        elif event.kind == "scale_requested" and (wanted := _wanted(event)):
            if wanted > servers:
                told = _Told(model, "add", servers, state_bytes)
                found.append(_change(report, told, event, _next(after, "servers_joined", event)))
            servers = wanted
    return found


def longest_s(times_s: Sequence[float], first: int, last: int) -> float:
    """The longest gap that ends with a commit from ``first`` to ``last``, less the median before; at least 0."""
    gaps = [times_s[step] - times_s[step - 1] for step in range(max(1, first), min(last + 1, len(times_s)))]
    return max(0.0, max(gaps, default=0.0) - usual_s(times_s, first))


def usual_s(times_s: Sequence[float], step: int) -> float:
    """The median gap between the commits before ``step``."""
    gaps = [after - before for before, after in pairwise(times_s[max(0, step - PRECEDING - 1) : max(2, step)])]
    return median(gaps)


@dataclass(frozen=True)
class _Told:
    """What a change is called."""

    model: str
    what: str
    servers: int
    state_bytes: int


def _change(report: Report, of: _Told, begun: Event, ended: Event) -> ServerChange:
    times_s = report.commit_times_s
    steps = ended.step - begun.step + 2
    whole_s = longest_s(times_s, begun.step, begun.step + steps)
    told = re.search(r"it got (\d+) slots?", ended.message)
    return ServerChange(
        model=of.model,
        what=of.what,
        servers=of.servers,
        step_s=usual_s(times_s, begun.step),
        stall_s=whole_s if begun.stall_s is None else begun.stall_s,
        calm_s=longest_s(times_s, begun.step - steps - 2, begun.step - 2),
        seconds=ended.time_s - begun.time_s,
        bytes_moved=ended.bytes_moved or 0,
        slot_copies=int(told[1]) if told else 0,
        state_bytes=of.state_bytes,
    )


def _wanted(event: Event) -> int:
    """How many servers somebody asked for; 0 if it was about workers."""
    found = re.match(r"(\d+) servers? (is|are) wanted", event.message)
    return int(found[1]) if found else 0


def _next(events: Sequence[Event], kind: str, event: Event) -> Event:
    for other in events:
        if other.kind == kind:
            return other
    raise RuntimeError(f"{event.kind} at step {event.step} is not followed by {kind}: {[e.kind for e in events]}")


class TableResult(msgspec.Struct, frozen=True):
    """One way to keep a table of rows. ``ahead``: the rate of each of Pliant's jobs over this one's, round by round."""

    system: str
    what: str
    rows: int
    """Different ids that there are."""
    ids: int
    """Looked up in a batch."""
    unique: float
    """Different ones of them: so many rows are pulled, and so many pushed."""
    step_s: Spread
    ahead: dict[str, Spread]

    @property
    def rate(self) -> float:
        """Rows pulled and rows pushed, together, a second."""
        return 2 * self.unique / self.step_s.median
