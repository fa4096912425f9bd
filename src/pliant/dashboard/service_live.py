"""The live view of a service in a terminal: requests and how long they take, replicas, the last events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pliant.dashboard.redrawn import Redrawn
from pliant.dashboard.service_text import canary_text, milliseconds, replicas_text
from pliant.dashboard.words import count
from pliant.wire.service_api import ServiceEvent, ServiceStatus

LAST_EVENTS = 6
MOST_REPLICAS = 16
RATE_S = 3.0
"""Answers a second are counted over so long."""
_STATE_STYLES = {
    "ready": "green",
    "loading": "yellow",
    "starting": "yellow",
    "leaving": "magenta",
    "stopping": "yellow",
    "broken": "bold red",
}
_EVENT_MARKS = {
    "service_started": ("●", "green"),
    "model_loaded": ("●", "green"),
    "model_failed": ("✖", "bold red"),
    "scaled": ("◆", "cyan"),
    "bounds_changed": ("◆", "cyan"),
    "replica_lost": ("✖", "red"),
    "replica_hung": ("✖", "red"),
    "push_refused": ("✖", "yellow"),
    "version_changed": ("▲", "green"),
    "canary_began": ("▲", "cyan"),
    "canary_rolled_back": ("▼", "yellow"),
    "service_stopping": ("■", "yellow"),
    "service_ended": ("■", "yellow"),
}


def render(
    status: ServiceStatus | None, events: Sequence[ServiceEvent] = (), *, rate: float | None = None
) -> RenderableType:
    """The whole view. Pure.

    Args:
        status: The newest one; None before there is one.
        events: In their order; the last few are shown.
        rate: Answers a second; None: not known yet.
    """
    if status is None:
        return Text("waiting for the service …", style="dim")
    parts: list[RenderableType] = [Rule(_title(status), align="left", style="dim"), _requests(status, rate)]
    if status.problem:
        parts.append(Text(f"error: {status.problem}", style="bold red"))
    if status.replicas:
        parts.append(Padding(_replicas(status), (1, 0, 0, 0)))
    if events:
        parts.append(Padding(_events(events[-LAST_EVENTS:]), (1, 0, 0, 0)))
    return Group(*parts)


def _title(status: ServiceStatus) -> Text:
    title = Text.assemble((status.name, "bold"), "  ", (status.state, _STATE_STYLES.get(status.state, "")))
    title.append(f"  {replicas_text(status)}")
    title.append(f"  version {status.version}")
    if status.canary is not None:
        title.append(f"  canary: {canary_text(status)}", style="cyan")
    title.append(f"  {status.url}", style="dim")
    return title


def _requests(status: ServiceStatus, rate: float | None) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    now = Text.assemble((f"{status.requests - status.waiting:,}", "bold"), " running")
    waiting = Text.assemble((f"{status.waiting:,}", "bold yellow" if status.waiting else "bold"), " waiting")
    speed = Text("–" if rate is None else f"{rate:,.0f} answers/s")
    latency = Text("nobody was answered lately", style="dim")
    if status.p50_s is not None and status.p99_s is not None:
        p50, p99 = milliseconds(status.p50_s), milliseconds(status.p99_s)
        latency = Text.assemble("p50 ", (p50, "bold"), "  p99 ", (p99, "bold"))
    table.add_row(now, waiting, speed, latency)
    table.add_row(
        Text(f"{status.answered:,} answered"),
        Text(f"{status.refused:,} refused", style="yellow" if status.refused else ""),
        Text(f"{status.failed:,} failed", style="bold red" if status.failed else ""),
    )
    return table


def _replicas(status: ServiceStatus) -> RenderableType:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    for name in ("replica", "state", "version", "computes", "batches"):
        table.add_column(name, justify="left" if name in {"replica", "state"} else "right", no_wrap=True)
    table.add_column("pid", justify="right", style="dim", header_style="dim")
    for each in status.replicas[:MOST_REPLICAS]:
        table.add_row(
            Text(f"r{each.number}", style="bold"),
            Text(each.state, style=_STATE_STYLES.get(each.state, "")),
            Text(str(each.version), style="" if each.version == status.version else "cyan"),
            Text(f"{each.requests:,}" if each.requests else "·", style="" if each.requests else "dim"),
            Text(f"{each.batches:,}"),
            Text(str(each.pid or "–")),
        )
    hidden = len(status.replicas) - MOST_REPLICAS
    return table if hidden <= 0 else Group(table, Text(f"and {count(hidden, 'more replica')}", style="dim"))


def _events(events: Sequence[ServiceEvent]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for event in events:
        mark, style = _EVENT_MARKS.get(event.kind, ("·", "dim"))
        said = event.message.partition("\n")[0]
        text = Text.assemble((event.kind.replace("_", " "), style), f"  {said}", no_wrap=True, overflow="ellipsis")
        table.add_row(f"{datetime.fromtimestamp(event.unix_s):%H:%M:%S}", Text(mark, style=style), text)
    return table


class LiveServiceView(Redrawn):
    """Redraws :func:`render` in place on the terminal.

    Args:
        clock: Monotonic seconds.
        console: Where to draw; default: standard error.
    """

    def __init__(self, clock: Callable[[], float], *, console: Console | None = None) -> None:
        super().__init__(console)
        self._clock = clock
        self._status: ServiceStatus | None = None
        self._counts: deque[tuple[float, int]] = deque()
        """(When, how many had been answered) of the last ``RATE_S``."""
        self._rate: float | None = None
        self._events: tuple[ServiceEvent, ...] = ()

    def status(self, status: ServiceStatus) -> None:
        """Drawn at the next refresh."""
        now_s = self._clock()
        if self._counts and status.answered < self._counts[-1][1]:
            self._counts.clear()  # another router has begun to count
        self._counts.append((now_s, status.answered))
        while len(self._counts) > 2 and self._counts[0][0] < now_s - RATE_S:
            self._counts.popleft()
        (from_s, before), (to_s, after) = self._counts[0], self._counts[-1]
        self._rate = (after - before) / (to_s - from_s) if to_s > from_s else None
        self._status = status

    def event(self, event: ServiceEvent) -> None:
        """Drawn at the next refresh."""
        self._events = (*self._events, event)[-LAST_EVENTS:]

    def _render(self) -> RenderableType:
        return render(self._status, self._events, rate=self._rate)
