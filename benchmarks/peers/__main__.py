"""``make bench-peers``: measure all systems and write a dated table and a picture into benchmarks/results."""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import date
from pathlib import Path

from benchmarks.installed import versions
from benchmarks.page import this_machine
from benchmarks.peers.measure import CHANGE_WORK, measure_changes, measure_references, measure_steps, say
from benchmarks.peers.plots import plot
from benchmarks.peers.results import PeerResults, write
from benchmarks.peers.systems import SYSTEMS, USUAL, lines_changed, why_not

PARTS = ("steps", "changes")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of everything, shorter limits")
    names = [system.name for system in SYSTEMS]
    telling = f"this system; may be given several times: {', '.join(names)}"
    parser.add_argument("--only", metavar="SYSTEM", choices=names, action="append", help=telling)
    parser.add_argument("--part", choices=PARTS, action="append", help="this part; may be given several times")
    parser.add_argument("--runs", type=int, help="of each change; default 5, with --quick 1")
    parser.add_argument("--rounds", type=int, help="of the failure-free steps; default 3, with --quick 1")
    parser.add_argument("--steps", type=int, help=f"of a run with a change; default {CHANGE_WORK.steps}, --quick: 60")
    parser.add_argument("--hang", type=float, default=150.0, help="seconds without a commit that count as hung")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then, too
    chosen = [system for system in SYSTEMS if system.name in (args.only or USUAL)]
    results = PeerResults(date.today().isoformat(), args.quick, this_machine())
    for system in chosen:
        results.versions[system.name] = versions(system.packages)
        results.settings[system.name] = dict(system.settings)
        results.lines_changed[system.name] = lines_changed(system.script)
        if reason := why_not(system):
            results.missing[system.name] = reason
            say(f"{system.name} is left out: {reason}")
    able = [system for system in chosen if system.name not in results.missing]
    parts = args.part or PARTS
    runs, rounds = args.runs or (1 if args.quick else 5), args.rounds or (1 if args.quick else 3)
    try:
        if "steps" in parts:
            results.steps.extend(measure_steps(able, rounds=rounds, hang_s=args.hang))
        if "changes" in parts:
            shared = {"steps": args.steps or (60 if args.quick else CHANGE_WORK.steps), "hang_s": args.hang}
            results.references.extend(measure_references(able, **shared))
            results.changes.extend(measure_changes(able, results.references, runs=runs, **shared))
    finally:  # an hour's work is not lost with its last run
        page = write(results, args.out)
        plot(results, page.with_suffix(".png"))
    print(page.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
