"""The pictures beside the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.membership import ChangeResult
from benchmarks.reduction import ReductionResult
from benchmarks.reduction_model import FORMS
from benchmarks.steps import StepResult


def plot_steps(results: Sequence[StepResult], path: Path) -> None:
    """Ratios to DDP, one bar for each comparison, with quartiles."""
    figure, axes = plt.subplots(figsize=(9, 0.34 * len(results) + 1.2), layout="constrained")
    for place, result in enumerate(reversed(results)):
        ratio = result.ratio
        error = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
        colour = "#2a9d8f" if ratio.median <= 1.03 else "#e76f51"
        axes.barh(place, ratio.median, xerr=error, color=colour, height=0.7)
        axes.text(0.01, place, f"{ratio.median:.3f}", va="center", color="white", fontsize=8)
    labels = [f"{r.model}, {r.workers} x {r.shards_each} shards of {r.per_shard}, {r.mode}" for r in reversed(results)]
    axes.set_yticks(range(len(results)), labels, fontsize=8)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("step time over DistributedDataParallel's (less is better)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_changes(results: Sequence[ChangeResult], path: Path) -> None:
    """The stall of each kind of event beside the step time and the aim."""
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    for place, result in enumerate(results):
        rows = (
            ("stall", result.stall_s, "#e76f51"),
            ("step", result.step_s, "#8d99ae"),
            ("aim", result.aim_s, "#2a9d8f"),
        )
        for offset, (label, value, colour) in enumerate(rows):
            error = [[(value.median - value.low) * 1e3], [(value.high - value.median) * 1e3]]
            name = label if place == 0 else None
            axes.bar(place + 0.27 * (offset - 1), value.median * 1e3, 0.25, yerr=error, color=colour, label=name)
    axes.set_xticks(range(len(results)), [result.what for result in results])
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_reduction(result: ReductionResult, path: Path) -> None:
    """Left: model and measurement here. Right: the three forms on the assumed network."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for workers in sorted({point.workers for point in result.checked}):
        points = [point for point in result.checked if point.workers == workers]
        sizes = [point.gradient_bytes for point in points]
        (line,) = left.loglog(sizes, [point.model_s * 1e3 for point in points], label=f"{workers} workers, model")
        left.loglog(sizes, [point.measured_s * 1e3 for point in points], "o", color=line.get_color())
    left.set(xlabel="bytes of gradient", ylabel="milliseconds", title="direct exchange here (dots: measured)")
    left.legend(frameon=False)
    for form in FORMS:
        costs = [cost for cost in result.costs if cost.form == form]
        right.loglog([cost.workers for cost in costs], [cost.seconds * 1e3 for cost in costs], label=form)
    right.set(xlabel="workers", ylabel="milliseconds", title="43 MB on an assumed 100 Gbit/s network")
    right.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
