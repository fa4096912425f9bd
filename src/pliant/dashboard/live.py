"""The live view in a terminal: progress, workers, the last events with what each cost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from pliant.dashboard.plain import worker_line
from pliant.dashboard.redrawn import Redrawn
from pliant.dashboard.staleness_text import measured
from pliant.dashboard.words import (
    cost,
    count,
    ranges,
    rate,
    remaining_s,
    seconds,
    server_held,
    server_state,
    serving,
    training_workers,
    workers_change,
)
from pliant.wire.api import Event, JobStatus, WorkerStatus

LAST_EVENTS = 6
MOST_WORKERS = 16
MOST_SERVERS = 8
_BAR_WIDTH = 36
_STATE_STYLES = {
    "training": "green",
    "evaluating": "green",
    "serving": "green",
    "filling": "cyan",
    "finished": "green",
    "ready": "cyan",
    "starting": "yellow",
    "rehearsing": "yellow",
    "leaving": "magenta",
    "running": "green",
    "stopping": "yellow",
    "stopped": "yellow",
    "failed": "bold red",
}
_EVENT_MARKS = {
    "generation_founded": ("●", "green"),
    "workers_joined": ("▲", "green"),
    "workers_shrunk": ("▼", "blue"),
    "worker_left": ("▼", "blue"),
    "newcomers_set_back": ("▽", "yellow"),
    "worker_lost": ("✖", "red"),
    "servers_founded": ("●", "green"),
    "servers_joined": ("▲", "green"),
    "server_left": ("▼", "blue"),
    "server_lost": ("✖", "red"),
    "server_full": ("!", "yellow"),
    "slots_restored": ("●", "green"),
    "newcomer_lost": ("✖", "yellow"),
    "job_finished": ("✔", "green"),
    "job_stopped": ("■", "yellow"),
    "job_failed": ("✖", "bold red"),
}


def render(status: JobStatus | None, events: Sequence[Event], *, now_s: float | None = None) -> RenderableType:
    """The whole view. Pure.

    Args:
        status: The newest status; None before there is one.
        events: In order of their numbers; the last few are shown.
        now_s: Unix time, for the time since the start; None leaves it out.
    """
    if status is None:
        return Text("waiting for the job …", style="dim")
    parts: list[RenderableType] = [Rule(_title(status, now_s), align="left", style="dim"), _progress(status)]
    if status.workers:
        parts.append(Padding(_workers(status), (1, 0, 0, 0)))
    if status.servers:
        parts.append(Padding(_servers(status), (1, 0, 0, 0)))
    if events:
        parts.append(Padding(_events(events[-LAST_EVENTS:]), (1, 0, 0, 0)))
    return Group(*parts)


def _title(status: JobStatus, now_s: float | None) -> Text:
    members = len(training_workers(status))
    title = Text.assemble(
        (status.name, "bold"), "  ", (status.state, _STATE_STYLES.get(status.state, "")), "  ", count(members, "worker")
    )
    if status.target_workers != members:
        title.append(f" → {status.target_workers}", style="yellow")
    title.append(f"  ({status.min_workers} to {status.max_workers})", style="dim")
    if status.target_servers:
        title.append(f"  {count(len(serving(status)), 'server')}")
        if status.target_servers != len(serving(status)):
            title.append(f" → {status.target_servers}", style="yellow")
        title.append(f"  ({status.min_servers} to {status.max_servers})", style="dim")
    if status.staleness is not None:
        title.append(f"  {measured(status)}", style="cyan")
    if now_s is not None:
        title.append(f"  {seconds(max(0.0, now_s - status.started_s))}", style="dim")
    return title


def _progress(status: JobStatus) -> RenderableType:
    row = Table.grid(padding=(0, 2))
    cells: list[RenderableType] = []
    if status.total_steps:
        done = Text.assemble((f"{status.step:,}", "bold"), (f" / {status.total_steps:,} steps", ""))
        cells += [_bar(status.total_steps, status.step), done]
    else:
        cells.append(Text.assemble((f"{status.step:,}", "bold"), " steps"))
    if status.epochs is not None:
        cells.append(Text(f"epoch {min(status.epoch + 1, status.epochs)} / {status.epochs}"))
    cells.append(Text("" if status.steps_per_s is None else rate(status.steps_per_s)))
    cells.append(Text.assemble("loss ", ("–" if status.loss is None else f"{status.loss:.4f}", "bold")))
    left_s = remaining_s(status)
    if left_s:
        cells.append(Text(f"{seconds(left_s)} left", style="dim"))
    row.add_row(*cells)
    return row


def _bar(total: int, completed: int) -> ProgressBar:
    return ProgressBar(
        total=total, completed=completed, width=_BAR_WIDTH, complete_style="cyan", finished_style="green"
    )


def _workers(status: JobStatus) -> RenderableType:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    for name in ("worker", "state", "rank", "step", "shards"):
        table.add_column(name, justify="right" if name in {"rank", "step"} else "left", no_wrap=True)
    table.add_column("pid", justify="right", style="dim", header_style="dim")
    members = training_workers(status)
    others = [worker for worker in status.workers if worker.rank is None]
    for worker in [*members, *others][:MOST_WORKERS]:
        table.add_row(*_worker_row(worker, status.shards))
    hidden = len(status.workers) - MOST_WORKERS
    return table if hidden <= 0 else Group(table, Text(f"and {count(hidden, 'more worker')}", style="dim"))


def _servers(status: JobStatus) -> RenderableType:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim", pad_edge=False)
    for name in ("server", "state", "primary", "copy", "held", "updates"):
        table.add_column(name, justify="left" if name in {"server", "state"} else "right", no_wrap=True)
    table.add_column("pid", justify="right", style="dim", header_style="dim")
    for server in status.servers[:MOST_SERVERS]:
        table.add_row(
            Text(server.server, style="bold"),
            Text(server_state(server), style=_STATE_STYLES.get(server.state, "")),
            str(server.primary),
            str(server.copy),
            server_held(server),
            f"{server.updates:,}",
            "–" if server.pid is None else str(server.pid),
        )
    hidden = len(status.servers) - MOST_SERVERS
    return table if hidden <= 0 else Group(table, Text(f"and {count(hidden, 'more server')}", style="dim"))


def _worker_row(worker: WorkerStatus, shards: int | None) -> list[RenderableType]:
    strip = Text(no_wrap=True)
    if shards and shards <= 32:
        for shard in range(shards):
            strip.append("■" if shard in worker.shards else "·", style="green" if shard in worker.shards else "dim")
        strip.append("  ")
    strip.append(ranges(worker.shards), style="dim")
    return [
        Text(worker.worker, style="bold"),
        Text(worker.state, style=_STATE_STYLES.get(worker.state, "")),
        Text("–" if worker.rank is None else str(worker.rank)),
        Text(f"{worker.step:,}"),
        strip,
        Text("–" if worker.pid is None else str(worker.pid)),
    ]


def _events(events: Sequence[Event]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    # The text says that it does not wrap, not the column: so the column is the one that shrinks.
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    for event in events:
        mark, style = _EVENT_MARKS.get(event.kind, ("·", "dim"))
        table.add_row(
            f"step {event.step:,}",
            Text(mark, style=style),
            Text(event.message, no_wrap=True, overflow="ellipsis"),
            workers_change(event),
            cost(event),
        )
    return table


class LiveView(Redrawn):
    """Redraws :func:`render` in place on the terminal; worker lines scroll above it.

    Args:
        clock: Unix time in seconds.
        console: Where to draw; default: standard error.
        lines_to_console: Worker lines go there even if standard output is something else.
    """

    def __init__(
        self, clock: Callable[[], float], *, console: Console | None = None, lines_to_console: bool = False
    ) -> None:
        self._lines_to_console = lines_to_console
        super().__init__(console)
        self._clock = clock
        self._status: JobStatus | None = None
        self._events: dict[int, Event] = {}

    def status(self, status: JobStatus) -> None:
        """Drawn at the next refresh."""
        self._status = status

    def event(self, event: Event) -> None:
        """Drawn at the next refresh."""
        self._events = {**self._events, event.seq: event}

    def line(self, worker: str | None, text: str) -> None:
        """Above the view if standard output is the terminal too, else to standard output."""
        if self._lines_to_console or sys.stdout.isatty():
            self._console.print(Text(worker_line(worker, text), style="" if worker is None else "dim"), soft_wrap=True)
        else:
            print(worker_line(worker, text), flush=True)

    def _render(self) -> RenderableType:
        events = [event for _, event in sorted(self._events.items())]
        return render(self._status, events, now_s=self._clock())
