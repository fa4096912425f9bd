"""``make bench``: measure everything and write a dated table with pictures into benchmarks/results."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import date
from pathlib import Path

import torch

from benchmarks import checkpoints, deciders, membership, reduction, steps, stragglers
from benchmarks.page import this_machine
from benchmarks.plots import plot_changes, plot_reduction, plot_steps
from benchmarks.results import Results, write

PARTS = ("steps", "changes", "checkpoints", "reduction", "deciders", "stragglers")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes instead of most of an hour; few rounds")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be given several times")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def measure_steps(*, quick: bool) -> list[steps.StepResult]:
    """One case after the other, with a line of progress each."""
    results = []
    chosen = steps.cases(quick=quick)
    for number, case in enumerate(chosen, start=1):
        results.append(steps.measure(case))
        ratio = results[-1].ratio.text(digits=3)
        what = f"{case.group}: {case.model}, {case.workers} workers, {case.shards} shards of {case.per_shard}"
        print(f"[{number}/{len(chosen)}] {what}: {ratio}", flush=True)
    return results


def main() -> int:
    """Measure the parts asked for."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then, too
    torch.set_num_threads(1)
    parts = args.only or PARTS
    results = Results(date.today().isoformat(), args.quick, this_machine())
    if "reduction" in parts:
        results.reduction = reduction.run(quick=args.quick)
    if "changes" in parts:
        results.changes = membership.measure(repeats=2 if args.quick else 7)
    if "checkpoints" in parts:
        results.checkpoints = [checkpoints.measure(case) for case in checkpoints.cases(quick=args.quick)]
    if "steps" in parts:
        results.steps = measure_steps(quick=args.quick)
    if "stragglers" in parts:
        results.stragglers = stragglers.measure(repeats=1 if args.quick else 5)
    if "deciders" in parts:
        results.deciders = deciders.measure(repeats=3 if args.quick else 11)
    page = write(results, args.out)
    if results.reduction is not None:
        plot_reduction(results.reduction, page.with_name(f"{page.stem}-reduction.png"))
    if results.changes:
        plot_changes(results.changes, page.with_name(f"{page.stem}-changes.png"))
    if results.steps:
        plot_steps(results.steps, page.with_name(f"{page.stem}-steps.png"))
    print(page.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
