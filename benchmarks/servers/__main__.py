"""``make bench-servers``: measure parameter servers and write a dated page into benchmarks/results.

Each part leaves a file of its own, and the page is made of the newest of each: parts can be measured one by one.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.page import this_machine
from benchmarks.servers.parts import Task, tasks
from benchmarks.servers.results import PARTS, PartResults, markdown, write_page, write_part

RESULTS = Path(__file__).parents[1] / "results"


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes; few rounds, fewer models")
    listed = ",".join(PARTS)
    parser.add_argument("--parts", type=_parts, default=PARTS, metavar="A,B", help=f"of {listed} (default: all)")
    telling = "of these parts only what has this in its name, to look at: nothing is written without --out"
    parser.add_argument("--only", default="", metavar="TEXT", help=telling)
    parser.add_argument("--note", action="append", default=[], help="a sentence for the page, such as what else ran")
    parser.add_argument("--out", type=Path, help=f"directory for the results (default: {RESULTS})")
    return parser.parse_args(words)


def _parts(text: str) -> tuple[str, ...]:
    asked = text.split(",")
    if wrong := [part for part in asked if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(wrong)} is none of the parts: use {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in asked)


def main() -> int:
    """Measure what was asked for. Exit code 1 if something could not be measured."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then, too
    torch.set_num_threads(1)
    problems = 0
    for name in args.parts:
        begun = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        part = PartResults(name, begun, args.quick, this_machine(), notes=args.note)
        try:
            measure(part, [task for task in tasks(name, quick=args.quick) if args.only in task.text])
        finally:  # what was measured is not lost with what came after it
            keep(part, args.out or (None if args.only else RESULTS))
        problems += len(part.problems)
    return 1 if problems else 0


def keep(part: PartResults, directory: Path | None) -> None:
    """Write the part and the page, and say where; None: only show it."""
    print(f"{part.part}: {part.took_s / 60:.1f} minutes, {len(part.problems)} problems", flush=True)
    if directory is None:
        print(markdown([part]), flush=True)
        return
    write_part(part, directory)
    if page := write_page(directory, quick=part.quick):
        print(f"written to {page}", flush=True)


def measure(part: PartResults, chosen: Sequence[Task]) -> None:
    """One task after the other; one that fails is noted, and the others go on. Fills ``part``."""
    began_s = time.monotonic()
    for number, task in enumerate(chosen, start=1):
        print(f"{part.part} {number}/{len(chosen)}: {task.text}", flush=True)
        begun_s = time.monotonic()
        try:
            told = task.run(part)
        except Exception as error:  # what else is measured is not lost with it
            part.problems[task.text] = f"{type(error).__name__}: {error}"
            told = f"failed: {error!r}"
        except BaseException:
            if not part.empty:
                part.problems["the rest"] = f"the measurement was interrupted in {number} of {len(chosen)}, {task.text}"
            raise
        finally:
            part.took_s = time.monotonic() - began_s
        print(f"    {time.monotonic() - begun_s:.0f} s: {told}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
