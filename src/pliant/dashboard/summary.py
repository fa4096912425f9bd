"""The last words of ``pliant run``: what was trained, how fast, and what each event cost."""

from __future__ import annotations

from pliant.dashboard.staleness_text import measured_in_all, mode
from pliant.dashboard.words import cost, count, seconds, workers_change
from pliant.wire.api import Event, Report

_CHANGES = frozenset(
    {
        "workers_joined",
        "workers_shrunk",
        "worker_left",
        "worker_lost",
        "newcomer_lost",
        "newcomers_set_back",
        "servers_joined",
        "server_left",
        "server_lost",
        "server_full",
        "slots_restored",
    }
)


def summary(report: Report) -> str:
    """A few lines of text. Pure."""
    loss = "" if report.final_loss is None else f", final loss {report.final_loss:.4f}"
    lines = [
        f"{report.name} {report.state}: {count(report.steps, 'step')}, {count(report.samples, 'sample')} "
        f"in {seconds(report.wall_s)}{loss}",
        f"  median step  {seconds(report.median_step_s)}",
        f"  goodput      {report.goodput:.1%}",
    ]
    if report.staleness is not None:
        lines.append(f"  staleness    {measured_in_all(report) or 'not measured'} ({mode(report.staleness)})")
    if report.weights_sha256 is not None:
        lines.append(f"  weights      sha256 {report.weights_sha256}")
    changes = changing_events(report.events)
    if changes:
        rows = [
            (f"step {event.step:,}", event.kind.replace("_", " "), workers_change(event), cost(event))
            for event in changes
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines.append("  events")
        for row in rows:
            cells = [row[0].rjust(widths[0]), row[1].ljust(widths[1]), row[2].ljust(widths[2]), row[3]]
            lines.append(("    " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def changing_events(events: list[Event]) -> list[Event]:
    """Those that changed who trains, or that cost something, after training had begun."""
    return [
        event
        for event in events
        if event.kind in _CHANGES or (event.stall_s is not None and event.kind != "generation_founded")
    ]
