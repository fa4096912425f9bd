"""The picture beside the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.serving.accounts import Turn, over, ratios, turns_of
from benchmarks.serving.results import ServingResults
from benchmarks.serving.shapes import LARGE, SMALL
from benchmarks.serving.tables import MIB, columns, label
from benchmarks.spread import spread

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator

COLOURS = {"pliant": "#2a9d8f", "bare": "#222222", "litserve": "#e9a03b", "ray": "#e76f51", "ray-no-haproxy": "#b56576"}
OTHER = "#8d99ae"
FLOOR_S = 0.01


def plot(results: ServingResults, path: Path) -> None:
    """Above: throughput and processor time over the bare process's. Below: bursts, kills, memory."""
    if not (results.turns or results.bursts or results.kills or results.memory):
        return
    models = list(dict.fromkeys(turn.model for turn in results.turns))
    across = max(3, len(models))
    figure, panels = plt.subplots(
        3, across, figsize=(4.2 * across, 11.5), height_ratios=(1, 1, 1.4), layout="constrained"
    )
    for column, model in enumerate(models):
        _lines(panels[0][column], results.turns, model, lambda turn: turn.rate)
        panels[0][column].set_title(f"{model}: requests a second, over the bare process", fontsize=9)
        _lines(panels[1][column], results.turns, model, lambda turn: turn.cpu_per_request_s)
        panels[1][column].set_title(f"{model}: processor time a request, over the bare process", fontsize=9)
        panels[1][column].axhline(2.0, color="#2a9d8f", linewidth=0.8, linestyle=":")
    if models:
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=8)
    _seconds(panels[2][0], results)
    _kills(panels[2][1], results)
    _memory(panels[2][2], results)
    for axes in panels.flat:
        if not axes.has_data():
            axes.set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _lines(axes: Any, turns: Sequence[Turn], model: str, value: Callable[[Turn], float]) -> None:
    """A line for each system, over the numbers of concurrent requests."""
    mine = [turn for turn in turns if turn.model == model]
    numbers = sorted({turn.connections for turn in mine})
    for system, batched in columns(mine):
        points = []
        for place, number in enumerate(numbers):
            found = ratios(turns, turns_of(turns, system, model, number, batched=batched), value)
            if found:
                points.append((place, spread(found)))
        if not points:
            continue
        style = {
            "color": COLOURS.get(system, OTHER),
            "linestyle": "-" if batched else "--",
            "marker": "o",
            "markersize": 3,
        }
        axes.plot(
            [place for place, _ in points], [found.median for _, found in points], label=label(system, batched), **style
        )
        axes.fill_between(
            [place for place, _ in points],
            [found.low for _, found in points],
            [found.high for _, found in points],
            color=style["color"],
            alpha=0.15,
        )
    axes.set_xticks(range(len(numbers)), numbers)
    axes.set_xlabel("concurrent requests", fontsize=8)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_locator(LogLocator(base=2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _bars(axes: Any, rows: Sequence[tuple[str, str, float, str]]) -> None:
    """Horizontal bars: (label, system, length, what is written beside it)."""
    for place, (_, system, length, text) in enumerate(reversed(rows)):
        axes.barh(place, length, color=COLOURS.get(system, OTHER), height=0.7)
        axes.text(length, place, f" {text}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)], fontsize=7)


def _seconds(axes: Any, results: ServingResults) -> None:
    rows = []
    for what, short in (("burst", "burst, 2nd replica"), ("zero", "from zero"), ("start", "start")):
        for system in dict.fromkeys(run.system for run in results.bursts if run.what == what):
            mine = [run for run in results.bursts if (run.what, run.system) == (what, system)]
            found = over(mine, lambda run: run.seconds)
            if found is not None:
                rows.append((f"{short}: {system}", system, max(found.median, FLOOR_S), f"{found.median:.2f} s"))
    if rows:
        _bars(axes, rows)
        axes.set_xscale("log")
        axes.set_xlim(FLOOR_S, max(length for *_, length, _ in rows) * 8)
        axes.set_title("seconds to the first answer", fontsize=9)


def _kills(axes: Any, results: ServingResults) -> None:
    rows = []
    for system in dict.fromkeys(run.system for run in results.kills if not run.problem):
        mine = [run for run in results.kills if run.system == system and not run.problem]
        failed, hung = (sum(value) / len(mine) for value in ([r.failed for r in mine], [r.hung for r in mine]))
        replaced = over(mine, lambda run: run.replaced_s)
        text = f"{failed:.1f} failed, {hung:.1f} hung, " + (f"{replaced.median:.2f} s" if replaced else "not replaced")
        rows.append((system, system, failed + hung, text))
    if rows:
        _bars(axes, rows)
        axes.set_xlim(0, max(1.0, *(length for *_, length, _ in rows)) * 2.2)
        axes.set_title("SIGKILL of one of two: requests lost (mean)", fontsize=9)


def _memory(axes: Any, results: ServingResults) -> None:
    rows = []
    for model in (SMALL, LARGE):
        for run in [run for run in results.memory if run.model == model and not run.problem]:
            size = run.pss_bytes / MIB
            rows.append((f"{model}, {run.replicas}: {run.system}", run.system, size, f"{size:.0f}"))
    if rows:
        _bars(axes, sorted(rows, key=lambda one: one[0]))
        axes.set_xlim(0, max(length for *_, length, _ in rows) * 1.2)
        axes.set_title("MiB (PSS) by model and replicas", fontsize=9)
