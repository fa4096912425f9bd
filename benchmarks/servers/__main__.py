"""``make bench-servers``: measure parameter servers and write a dated table into benchmarks/results."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.page import this_machine
from benchmarks.servers import dense, recovery, tables
from benchmarks.servers.results import ServersResults, write

PARTS = ("strategies", "crossover", "recovery", "tables")
CaseT = TypeVar("CaseT")
ResultT = TypeVar("ResultT")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes; few rounds, fewer models")
    parser.add_argument("--part", choices=PARTS, action="append", help="this part; may be given several times")
    parser.add_argument("--model", choices=tuple(dense.SIZES), action="append", help="this model; as well")
    parser.add_argument("--note", action="append", default=[], help="a sentence for the page, such as what else ran")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    return parser.parse_args()


def main() -> int:
    """Measure what was asked for. Exit code 1 if something could not be measured."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then, too
    torch.set_num_threads(1)
    began_s = time.monotonic()
    parts, models = args.part or PARTS, args.model or tuple(dense.SIZES)
    results = ServersResults(date.today().isoformat(), args.quick, this_machine(), notes=args.note)
    try:
        cases = [case for case in dense.cases(quick=args.quick) if case.group in parts and case.model in models]
        for found in _each(cases, dense.measure, lambda case: case.text, results):
            results.dense.extend(found)
        drills = [drill for drill in recovery.drills(quick=args.quick) if "recovery" in parts and drill.model in models]
        for changes in _each(drills, recovery.measure, lambda drill: f"recovery: {drill.model}", results):
            results.changes.extend(changes)
        sizes = [tables.size(quick=args.quick)] if "tables" in parts else []
        for rows in _each(sizes, tables.measure, lambda size: f"tables: {size.rows:,} rows", results):
            results.tables.extend(rows)
    finally:  # what was measured is not lost with what came after it
        results.took_s = time.monotonic() - began_s
        page = write(results, args.out)
    print(page.read_text(encoding="utf-8"))
    return 1 if results.problems else 0


def _each(
    cases: Iterable[CaseT], measure: Callable[[CaseT], ResultT], text: Callable[[CaseT], str], results: ServersResults
) -> Iterator[ResultT]:
    """One case after the other; one that fails is noted, and the others go on."""
    for case in cases:
        begun_s = time.monotonic()
        try:
            found = measure(case)
        except Exception as error:  # what else is measured is not lost with it
            results.problems[text(case)] = f"{type(error).__name__}: {error}"
            print(f"{text(case)} failed: {error!r}", flush=True)
            continue
        print(f"{text(case)}: {time.monotonic() - begun_s:.0f} s", flush=True)
        yield found


if __name__ == "__main__":
    sys.exit(main())
