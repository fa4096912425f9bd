"""The report's pictures as SVG text, drawn by matplotlib, coloured by the page.

Imported by name only, because matplotlib is an optional part. Each colour is drawn as a placeholder that is replaced
by a CSS variable in the finished SVG, so that one picture serves the light and the dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pliant.dashboard.comparison import Comparison
from pliant.dashboard.marks import Mark, event_second, marked_events
from pliant.dashboard.staleness_text import bins
from pliant.dashboard.words import seconds, workers_change
from pliant.wire.api import Report

_NAMES = ("ink", "muted", "grid", "accent", "pale", "join", "lost", "leave", "card")
_PLACEHOLDERS = {name: f"#0a0b{index:02x}" for index, name in enumerate(_NAMES, start=0x10)}
_WIDTH_IN = 9.0
_MOST_BARS = 20
_MOST_BINS = 40
_MOST_LETTERS = 112
"""In a line of a legend; an entry's handle and the space around it take as much as so many letters:"""
_HANDLE_LETTERS = 8
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pliant",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _PLACEHOLDERS["grid"],
    "axes.labelcolor": _PLACEHOLDERS["muted"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": _PLACEHOLDERS["muted"],
    "ytick.color": _PLACEHOLDERS["muted"],
    "text.color": _PLACEHOLDERS["ink"],
    "grid.color": _PLACEHOLDERS["grid"],
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def loss_over_steps(report: Report, comparison: Comparison | None = None) -> str:
    """Loss of each step, with the events; below it, as a broad band, that of another run."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.1)
        name, steps = "elastic", report.steps
        if comparison is not None:
            name, steps = comparison.names[0], max(steps, comparison.other.steps)
            _band(axes, _points(comparison.other), comparison.names[1])
        axes.plot(*_points(report), color=_color("accent"), linewidth=1.4, label=name)
        _event_marks(axes, [(float(event.step), mark) for event, mark in marked_events(report)])
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.set_xlim(0, max(1, steps))
        _legend(axes)
        return _svg(figure)


def loss_over_time(comparison: Comparison) -> str:
    """Losses of two runs over the seconds that they took: the one that is faster gets further."""
    report, other = comparison.report, comparison.other
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.1)
        _band(axes, _timed_points(other), comparison.names[1])
        axes.plot(*_timed_points(report), color=_color("accent"), linewidth=1.4, label=comparison.names[0])
        axes.set_xlabel("seconds since training began")
        axes.set_ylabel("loss")
        axes.set_xlim(0, max(report.wall_s, other.wall_s) or 1.0)
        _legend(axes)
        return _svg(figure)


def staleness(report: Report) -> str:
    """How many pushes came how many updates after their worker's pull, with the mean."""
    found = bins(report.pushes_by_staleness, most=_MOST_BINS)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(2.3)
        widths = [high - low + 1 for low, high, _ in found]
        axes.bar(
            [(low + high) / 2 for low, high, _ in found],
            [pushes for _, _, pushes in found],
            width=[0.82 * width for width in widths],
            color=_color("accent"),
        )
        if report.mean_staleness is not None:
            axes.axvline(report.mean_staleness, color=_color("ink"), linewidth=1.2, linestyle=(0, (4, 3)))
            axes.annotate(
                f"{report.mean_staleness:.1f} on average",
                (report.mean_staleness, 1),
                (0, 3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=_color("muted"),
                fontsize=9,
            )
        axes.set_xlim(-0.6, max([high for _, high, _ in found], default=0) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.set_xlabel("updates of others between pull and push")
        axes.set_ylabel("pushes")
        return _svg(figure)


def workers_over_time(report: Report) -> str:
    """How many workers trained (and parameter servers held slots), over the seconds of the run, with the events."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(2.5)
        end_s = max([report.wall_s, *(second for second, _ in report.workers_over_time)])
        times = [second for second, _ in report.workers_over_time] + [end_s]
        counts = [float(workers) for _, workers in report.workers_over_time]
        counts += counts[-1:] or [0.0]
        axes.fill_between(times, counts, step="post", color=_color("accent"), alpha=0.16, linewidth=0)
        axes.step(times, counts, where="post", color=_color("accent"), linewidth=1.8)
        most = max(counts)
        if report.servers_over_time:
            servers = [float(number) for _, number in report.servers_over_time]
            seconds_ = [second for second, _ in report.servers_over_time] + [end_s]
            servers += servers[-1:]
            most = max(most, *servers)
            axes.step(seconds_, servers, where="post", color=_color("muted"), linewidth=1.6, linestyle=(0, (4, 2)))
            axes.annotate("servers", (seconds_[-1], servers[-1]), (-4, 4), textcoords="offset points", ha="right")
        axes.set_ylim(0, most + 0.9)
        axes.set_xlim(0, end_s or 1.0)
        _event_marks(axes, [(event_second(report, event), mark) for event, mark in marked_events(report)])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.set_xlabel("seconds since training began")
        axes.set_ylabel("workers")
        _legend(axes)
        return _svg(figure)


def event_costs(report: Report) -> str:
    """One bar for each event: how long training stood still beyond an ordinary step."""
    known = [(event, mark, event.stall_s) for event, mark in marked_events(report) if event.stall_s is not None]
    # Of many, the costliest; still in the order in which they happened.
    kept = sorted(sorted(known, key=lambda entry: -entry[2])[:_MOST_BARS], key=lambda entry: entry[0].seq)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.9 + 0.34 * max(1, len(kept)))
        rows = range(len(kept))
        axes.barh(
            rows,
            [stall_s * 1000 for _, _, stall_s in kept],
            color=[_color(mark.color) for _, mark, _ in kept],
            height=0.56,
        )
        axes.set_yticks(
            rows,
            [f"step {event.step}  ·  {mark.label}  {workers_change(event)}" for event, mark, _ in kept],
            color=_color("ink"),
        )
        for row, (_, _, stall_s) in zip(rows, kept, strict=True):
            axes.annotate(
                seconds(stall_s) if stall_s >= 0.0005 else "no stall",
                (stall_s * 1000, row),
                (6, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
            )
        median_ms = report.median_step_s * 1000
        longest_ms = max([stall_s * 1000 for _, _, stall_s in kept], default=0.0)
        limit_ms = max(longest_ms, median_ms) * 1.15 or 1.0
        axes.set_xlim(0, limit_ms)
        axes.axvline(median_ms, color=_color("muted"), linewidth=1.2, linestyle=(0, (4, 3)))
        at_left = median_ms < limit_ms / 2
        axes.annotate(
            f"an ordinary step: {seconds(report.median_step_s)}",
            (median_ms, 1),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="left" if at_left else "right",
            color=_color("muted"),
            fontsize=9,
        )
        axes.set_ylim(len(kept) - 0.4 if kept else 0.6, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("training stood still for … ms beyond an ordinary step")
        return _svg(figure)


def _figure(height_in: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, axis="both" if height_in > 3 else "y")
    axes.set_axisbelow(True)
    return figure, axes


def _points(report: Report) -> tuple[list[int], list[float]]:
    pairs = [(step, loss) for step, loss in enumerate(report.losses, start=report.first_step + 1) if loss is not None]
    return [step for step, _ in pairs], [loss for _, loss in pairs]


def _timed_points(report: Report) -> tuple[list[float], list[float]]:
    pairs = [
        (second, loss) for second, loss in zip(report.commit_times_s, report.losses, strict=False) if loss is not None
    ]
    return [second for second, _ in pairs], [loss for _, loss in pairs]


def _band(axes: Any, points: tuple[Sequence[float], Sequence[float]], name: str) -> None:
    axes.plot(*points, color=_color("pale"), linewidth=6, solid_capstyle="butt", label=name)


def _event_marks(axes: Any, marks: list[tuple[float, Mark]]) -> None:
    """A thin line for each event, with its shape at the top; one legend entry for each kind."""
    named: set[str] = set()
    for position, mark in marks:
        axes.axvline(position, color=_color(mark.color), linewidth=0.9, alpha=0.55, zorder=1)
        axes.plot(
            [position],
            [0.965],
            transform=axes.get_xaxis_transform(),
            marker=mark.shape,
            markersize=7,
            color=_color(mark.color),
            markeredgecolor=_color("card"),
            linestyle="none",
            label=mark.label if mark.label not in named else "_again",
        )
        named.add(mark.label)


def _legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=_columns(labels),
            frameon=False,
            borderaxespad=0.2,
            handletextpad=0.6,
            columnspacing=1.4,
            fontsize=9.5,
        )


def _columns(labels: Sequence[str]) -> int:
    """So many that the legend is no broader than the picture, which would otherwise give way to it."""
    for columns in range(len(labels), 1, -1):
        # matplotlib fills one column after the other, the first ones with one more.
        rows, longer = divmod(len(labels), columns)
        starts = [column * rows + min(column, longer) for column in range(columns + 1)]
        widths = [max(map(len, labels[begin:end])) + _HANDLE_LETTERS for begin, end in pairwise(starts)]
        if sum(widths) <= _MOST_LETTERS:
            return columns
    return 1


def _color(name: str) -> str:
    return _PLACEHOLDERS[name]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for name, placeholder in _PLACEHOLDERS.items():
        text = text.replace(placeholder, f"var(--{name})")
    # Several pictures share one page: matplotlib names the groups alike in each.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    # The page decides the width and the typeface (which matplotlib writes in one of two ways).
    text = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", text)
    return re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font: \1 var(--font)", text)
