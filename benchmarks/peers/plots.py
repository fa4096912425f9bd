"""The picture beside the tables."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from benchmarks.peers.measure import CHANGES
from benchmarks.peers.results import TITLES, PeerResults, of, spread_of

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FLOOR_S = 0.005
"""Shown for stalls below it: the axis is logarithmic."""


def plot(results: PeerResults, path: Path) -> None:
    """The stall of each change, one bar for each system, on a logarithmic axis. No changes: no picture."""
    if not results.changes:
        return
    figure, panels = plt.subplots(1, len(CHANGES), figsize=(11, 3.2), layout="constrained", sharex=True, sharey=True)
    systems = list(dict.fromkeys(run.system for run in results.changes))
    for axes, what in zip(panels, CHANGES, strict=True):
        for place, system in enumerate(reversed(systems)):
            runs = of(results, what, system)
            stall = spread_of(runs, lambda run: run.stall_s)
            failed = sum(bool(run.failure) for run in runs)
            note = f"  {failed} of {len(runs)} failed" if failed else ""
            if stall is None:
                axes.text(FLOOR_S, place, f"  no step{note}", va="center", fontsize=8)
                continue
            seconds = max(stall.median, FLOOR_S)
            colour = "#2a9d8f" if system == "pliant" else "#8d99ae"
            axes.barh(place, seconds, color=colour, height=0.7)
            axes.text(seconds, place, f"  {stall.median:.2f} s{note}", va="center", fontsize=8)
        axes.set_yticks(range(len(systems)), list(reversed(systems)), fontsize=9)
        axes.set_xscale("log")
        axes.set_xlim(FLOOR_S, 2000)
        axes.set_title(TITLES[what], fontsize=10)
        axes.set_xlabel("stall beyond an ordinary step, seconds")
    figure.savefig(path, dpi=120)
    plt.close(figure)
