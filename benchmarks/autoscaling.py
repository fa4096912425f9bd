"""``python -m benchmarks.autoscaling``: replicas paid and requests in time, in the simulator, on bursty traffic.

The production deciders against a fixed number of replicas (the fewest that answer 99 % in time, and the peak that ours
ever had), against Knative's default rule, and against what no schedule can do without: all work in full batches, with
every arrival known before. Replicas are made up: so long to start, so long a batch; deadlines count from arrival.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import matplotlib
import msgspec

from benchmarks.page import row
from pliant.serving.autoscale_plan import Autoscaler, ScaleDecision, ScaleRules, Sight
from pliant.serving.batch_plan import BatchRules
from pliant.sim.arrivals import Arrival, azure_trace, bursty, variation
from pliant.sim.knative import KnativeScaler
from pliant.sim.service import ReplicaModel, Scaler, ServiceResult, ServiceWorld

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RULES = ScaleRules(most=32)
BATCH = BatchRules(most_rows=8, most_waiting=1_000_000)
SETTLE_S = 60.0
IN_TIME = 0.99


class Fixed:
    """Always so many."""

    def __init__(self, replicas: int) -> None:
        self.rules, self._replicas = RULES, replicas

    def load(self, now_s: float, requests: int) -> None:
        """Does not matter."""

    def decide(self, now_s: float, sight: Sight) -> ScaleDecision:
        """As always."""
        return ScaleDecision(self._replicas, "fixed")

    def next_look_s(self, now_s: float, sight: Sight) -> float | None:
        """Never."""
        return None


@dataclass(frozen=True)
class Traffic:
    """Some arrivals, and how long they take."""

    name: str
    arrivals: Sequence[Arrival]
    model: ReplicaModel

    @property
    def least_replica_s(self) -> float:
        """No schedule needs less: every batch full, no replica ever idle or starting."""
        work = sum(arrival.work for arrival in self.arrivals)
        return self.model.row_s * work + self.model.fixed_s * len(self.arrivals) / BATCH.most_rows


class Line(msgspec.Struct, frozen=True):
    """What one way of scaling made of one kind of traffic."""

    traffic: str
    scaling: str
    in_time: float
    replica_s: float
    of_peak: float
    """Replica-seconds against the fixed peak's."""
    gap: float
    """Against what no schedule can do without."""
    most: int
    p50_s: float
    p99_s: float


def traffics(trace: Path | None) -> list[Traffic]:
    """An hour of each."""
    found = [
        Traffic("bursty, CV 13", bursty(rate=20, cv=13, duration_s=3600, seed=1), ReplicaModel()),
        Traffic("calm, CV 1.1", bursty(rate=60, cv=1.1, duration_s=3600, seed=1), ReplicaModel()),
    ]
    if trace is not None:
        model = ReplicaModel(fixed_s=0.05, row_s=0.05, deadline_s=2.0)
        found.append(Traffic("Azure LLM, code, 2023", azure_trace(trace), model))
    return found


def play(traffic: Traffic, scaler: Scaler) -> ServiceResult:
    """All of it."""
    return ServiceWorld(scaler, BATCH, traffic.model).play(traffic.arrivals, settle_s=SETTLE_S)


def measure(traffic: Traffic) -> tuple[list[Line], dict[str, ServiceResult]]:
    """Every way of scaling."""
    ours = play(traffic, Autoscaler(RULES))
    results = {f"fixed peak: {ours.most}": play(traffic, Fixed(ours.most))}
    for replicas in range(1, ours.most):
        fixed = play(traffic, Fixed(replicas))
        if fixed.in_time >= IN_TIME * len(traffic.arrivals):
            results[f"the fewest fixed: {replicas}"] = fixed
            break
    results["Knative's rule"] = play(traffic, KnativeScaler(RULES))
    results["Pliant"] = ours
    peak_s = next(iter(results.values())).replica_s
    lines = []
    for name, result in results.items():
        latencies_s = sorted(result.latencies_s)
        lines.append(
            Line(
                traffic.name,
                name,
                result.in_time / len(traffic.arrivals),
                result.replica_s,
                result.replica_s / peak_s,
                result.replica_s / traffic.least_replica_s,
                result.most,
                latencies_s[len(latencies_s) // 2],
                latencies_s[int(len(latencies_s) * 0.99)],
            )
        )
    return lines, results


def table(lines: Sequence[Line]) -> str:
    """For readers."""
    columns = ("traffic", "scaling", "in time", "replica-seconds", "of the fixed peak", "x the least possible", "most")
    rows = [row(*columns, "p50 s", "p99 s"), row(*["---"] * (len(columns) + 2))]
    for line in lines:
        rows.append(
            row(
                line.traffic,
                line.scaling,
                f"{line.in_time:.2%}",
                f"{line.replica_s:.0f}",
                f"{line.of_peak:.0%}",
                f"{line.gap:.2f}",
                line.most,
                f"{line.p50_s:.3f}",
                f"{line.p99_s:.3f}",
            )
        )
    return "\n".join(rows)


def plot(traffic: Traffic, results: dict[str, ServiceResult], path: Path, *, begin_s: float, end_s: float) -> None:
    """Arrivals a second, and the replicas that each rule has, for a part of the time."""
    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 4.5), layout="constrained", sharex=True)
    times = [arrival.time_s for arrival in traffic.arrivals if begin_s <= arrival.time_s < end_s]
    above.hist(times, bins=int(end_s - begin_s), color="#8d99ae")
    above.set_ylabel("arrivals a second")
    above.set_title(traffic.name, fontsize=10)
    for name, colour in (("Knative's rule", "#e76f51"), ("Pliant", "#2a9d8f")):
        steps = results[name].steps
        below.step([time for time, _ in steps], [count for _, count in steps], where="post", color=colour, label=name)
    below.set_xlim(begin_s, end_s)
    below.set_ylabel("replicas")
    below.set_xlabel("seconds")
    below.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling", description=__doc__)
    parser.add_argument("--trace", type=Path, help="an Azure LLM inference trace (CSV), as well")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    lines: list[Line] = []
    stem = args.out / f"{date.today().isoformat()}-autoscaling"
    args.out.mkdir(parents=True, exist_ok=True)
    for number, traffic in enumerate(traffics(args.trace)):
        told = f"{traffic.name}: {len(traffic.arrivals)} requests, CV of the gaps {variation(traffic.arrivals):.1f}"
        print(told, flush=True)
        found, results = measure(traffic)
        lines += found
        if number != 1:
            plot(traffic, results, stem.with_name(f"{stem.name}-{number}.png"), begin_s=600, end_s=900)
    text = (
        f"# Autoscaling in the simulator, {date.today().isoformat()}\n\n{table(lines)}\n\n"
        "The production deciders in virtual time (`sim/service.py`). A replica takes 0.15 s to start; a batch of up to "
        "8 takes 20 ms and 20 ms a request (trace: 50 ms, and 50 ms a mean request), deadlines are 1 s (trace: 2 s). "
        "Knative's rule: windows of 60 and 6 s, a look every 2 s, the same target. The least possible: all work in "
        "full batches, no replica ever idle or starting.\n"
    )
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    stem.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(lines), indent=2) + b"\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
