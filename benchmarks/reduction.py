"""Fits the cost model to the real exchange at two and three workers, and checks it at four."""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec
import numpy

from benchmarks.exchange import Measured, measure
from benchmarks.reduction_model import Cost, Link, cost, crossover, table

GPT_BYTES = 43_000_000
NETWORK = Link(alpha_s=20e-6, overhead_s=3e-6, beta_s=1 / 12.5e9)
"""Assumed, not measured: TCP over 100 Gbit/s Ethernet within a data centre."""
FITTED_WITH = (2, 3)
CONTROL_MESSAGES = 3
"""PRE, POST and ACK, to every peer, on top of the buckets."""


class Checked(msgspec.Struct, frozen=True):
    """A measurement beside what the model says."""

    workers: int
    gradient_bytes: int
    measured_s: float
    model_s: float
    fitted: bool
    """True: it was among those that the model was fitted with."""


class ReductionResult(msgspec.Struct, frozen=True):
    """What (d) gave."""

    cores: int
    link: Link
    network: Link
    buckets: int
    checked: list[Checked]
    costs: list[Cost]
    crossover_workers: int | None
    crossover_small: int | None
    """The same for a gradient of 1 MB in one bucket."""


def run(*, quick: bool) -> ReductionResult:
    """Measure, fit, check, and tabulate."""
    sizes = (1 << 12, 1 << 18, 1 << 22, 40 << 20) if quick else (1 << 12, 1 << 16, 1 << 20, 1 << 22, 16 << 20, 40 << 20)
    points = [
        measure(workers=count, gradient_bytes=size, repeats=60 if size <= 1 << 20 else 12)
        for count in (2, 3, 4)
        for size in sizes
    ]
    cores = len(os.sched_getaffinity(0))
    link = fit([point for point in points if point.workers in FITTED_WITH], cores=cores)
    checked = [
        Checked(
            workers=point.workers,
            gradient_bytes=point.gradient_bytes,
            measured_s=point.seconds.median,
            model_s=float(_features(point, cores=cores) @ numpy.array(msgspec.structs.astuple(link))),
            fitted=point.workers in FITTED_WITH,
        )
        for point in points
    ]
    buckets = max(point.buckets for point in points)
    return ReductionResult(
        cores=cores,
        link=link,
        network=NETWORK,
        buckets=buckets,
        checked=checked,
        costs=table(gradient_bytes=GPT_BYTES, buckets=buckets, link=NETWORK),
        crossover_workers=crossover(gradient_bytes=GPT_BYTES, buckets=buckets, link=NETWORK),
        crossover_small=crossover(gradient_bytes=1e6, buckets=1, link=NETWORK),
    )


def fit(points: Sequence[Measured], *, cores: int) -> Link:
    """Least squares of the relative error, no coefficient below zero."""
    rows = numpy.array([_features(point, cores=cores) / point.seconds.median for point in points])
    free = list(range(3))
    while True:
        solution = numpy.zeros(3)
        solution[free] = numpy.linalg.lstsq(rows[:, free], numpy.ones(len(rows)), rcond=None)[0]
        if solution.min() >= 0:
            return Link(*(float(value) for value in solution))
        free.remove(int(solution.argmin()))


def _features(point: Measured, *, cores: int) -> numpy.ndarray:
    """What alpha, overhead and beta are multiplied by. On one machine the workers share its cores for moving bytes."""
    crowding = max(1.0, point.workers / cores)
    unit = Link(0.0, 0.0, 1.0)
    direct = cost("direct", point.workers, gradient_bytes=point.gradient_bytes, buckets=point.buckets, link=unit)
    messages = direct.messages + CONTROL_MESSAGES * (point.workers - 1)
    return numpy.array([3.0, messages * crowding, direct.size_bytes * crowding])
