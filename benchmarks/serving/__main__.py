"""``make bench-serving``: measure all systems and write a dated table and a picture into benchmarks/results."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from datetime import date
from pathlib import Path

from benchmarks.installed import versions
from benchmarks.page import this_machine
from benchmarks.peers.measure import say
from benchmarks.serving import measure, scenarios
from benchmarks.serving.plots import plot
from benchmarks.serving.results import ServingResults, write
from benchmarks.serving.systems import SYSTEMS, why_not

PARTS = ("throughput", "starts", "bursts", "kills", "memory")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of everything, shorter turns")
    names = [system.name for system in SYSTEMS]
    telling = f"this system; may be given several times: {', '.join(names)}"
    parser.add_argument("--only", metavar="SYSTEM", choices=names, action="append", help=telling)
    parser.add_argument("--part", choices=PARTS, action="append", help="this part; may be given several times")
    parser.add_argument("--note", action="append", default=[], help="a sentence for the page, such as what else ran")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then, too
    began_s = time.monotonic()
    chosen = [system for system in SYSTEMS if system.name in (args.only or [each.name for each in SYSTEMS])]
    results = ServingResults(date.today().isoformat(), args.quick, this_machine(), notes=args.note)
    for system in chosen:
        results.versions[system.name] = versions(system.packages)
        results.settings[system.name] = dict(system.settings)
        results.lacks[system.name] = dict(system.lacks)
        if reason := why_not(system):
            results.missing[system.name] = reason
            say(f"{system.name} is left out: {reason}")
    able = [system for system in chosen if system.name not in results.missing]
    plan, parts, asked = measure.QUICK if args.quick else measure.Plan(), args.part or PARTS, scenarios.questions()
    try:
        if "throughput" in parts:
            results.client.extend(measure.measure_client(asked["mlp"], plan))
            results.turns.extend(measure.measure_throughput(able, asked, plan))
        if "starts" in parts:
            results.bursts.extend(measure.measure_starts(able, asked, plan))
        if "bursts" in parts:
            results.bursts.extend(measure.measure_bursts(able, asked, plan))
        if "kills" in parts:
            results.kills.extend(measure.measure_kills(able, asked, plan))
        if "memory" in parts:
            results.memory.extend(measure.measure_memory(able, asked, plan))
    finally:  # what was measured is not lost with what came after it
        results.took_s = time.monotonic() - began_s
        page = write(results, args.out)
        plot(results, page.with_suffix(".png"))
    print(page.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
