"""``make storm [N=500]``: hundreds of faults over one run, and what is left of it: every sample, every bit, 90 %?"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path

import torch

from benchmarks.page import this_machine
from benchmarks.storm.accounts import balance, calm_step_s, possible_steps, spans, step_times_s
from benchmarks.storm.job import StormJob
from benchmarks.storm.results import AIM, StormResult, write
from benchmarks.storm.schedule import KINDS, Fault, schedule
from benchmarks.storm.storm import Storm, StormError
from benchmarks.storm.train import BATCH, STEPS_PER_EPOCH

WORKERS = 3


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--faults", type=int, default=500)
    parser.add_argument("--gap", type=float, default=240.0, help="mean number of steps from one fault to the next")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=1.0, help="of the job, seconds")
    parser.add_argument("--calm", type=int, default=400, help="steps of each calm stretch, the yardstick")
    parser.add_argument("--kinds", default=",".join(KINDS), help="only these kinds of faults, separated by commas")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results")
    return parser.parse_args()


def main() -> int:
    """Exit code 0 if nothing was lost or repeated, the bits are the same and the goodput is as aimed for."""
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then, too
    torch.set_num_threads(1)
    result = StormResult(date.today().isoformat(), this_machine(), args.seed, args.patience, WORKERS)
    epochs = _epochs(args)
    with tempfile.TemporaryDirectory(prefix="storm-") as name:
        _storm(args, result, Path(name), epochs)
        if not result.failure:
            print("now undisturbed, on one worker", flush=True)
            _undisturbed(result, Path(name), epochs)
    page = write(result, args.out)
    print(page.read_text(encoding="utf-8"))
    return 0 if is_good(result) else 1


def is_good(result: StormResult) -> bool:
    """Everything that was promised."""
    books = result.books
    exact = books is not None and books.missing_steps == books.lost == books.repeated == 0
    return exact and result.identical and result.goodput_without_patience >= AIM and not result.failure


def _epochs(args: argparse.Namespace) -> int:
    """Enough for the calm stretches, the faults, and some steps that can be late."""
    faults = _faults(args)
    last = faults[-1].step if faults else _first(args)
    return -(-(last + 6 * args.calm) // STEPS_PER_EPOCH)


def _first(args: argparse.Namespace) -> int:
    return 5 * args.calm + int(args.gap)


def _faults(args: argparse.Namespace) -> list[Fault]:
    found = schedule(seed=args.seed, faults=args.faults, first_step=_first(args), gap_steps=args.gap)
    return [fault for fault in found if fault.kind in args.kinds.split(",")]


def _storm(args: argparse.Namespace, result: StormResult, directory: Path, epochs: int) -> None:
    faults = _faults(args)
    result.wanted_faults = dict(Counter(fault.kind for fault in faults))
    job = StormJob(directory / "storm")
    storm = Storm(job, workers=WORKERS, patience_s=args.patience)
    try:
        job.start(workers="1:4", begin=WORKERS, patience_s=args.patience, epochs=epochs)
        storm.until(lambda: storm.all_in(WORKERS), "the job begins", limit_s=120)
        storm.calm_at([WORKERS, 2, 1, WORKERS], steps=args.calm)
        storm.rage(faults)
        storm.until(lambda: storm.all_in(WORKERS), "the last fault is overcome")
        storm.calm_at([WORKERS], steps=args.calm)
        storm.until(lambda: job.code is not None, "the end", limit_s=3600)
    except StormError as error:
        result.failure = str(error)
        print(f"{error}\n{job.log.read_text(errors='replace')[-3000:]}", flush=True)
    finally:
        storm.books.read()
        job.close()
    if job.code != 0 and not result.failure:
        result.failure = f"`pliant run` ended with exit code {job.code}"
    _account(result, storm, epochs)


def _account(result: StormResult, storm: Storm, epochs: int) -> None:
    workers = list(storm.books.workers.values())
    result.hits = storm.hits
    result.faults = dict(Counter(hit.kind for hit in storm.hits))
    result.hit_while_joining = sum(hit.joining for hit in storm.hits)
    result.sha256 = [worker.end_sha for worker in workers if worker.end_sha is not None]
    steps = epochs * STEPS_PER_EPOCH
    result.books = balance(workers, steps=steps, steps_per_epoch=STEPS_PER_EPOCH, size=BATCH * STEPS_PER_EPOCH)
    if not storm.hits or len(storm.calm) < 4:
        return
    times = step_times_s(workers)
    begin_s = storm.calm[3].end_s
    end_s = storm.calm[4].begin_s if len(storm.calm) > 4 else times[-1][0]
    found = spans(workers, begin_s, end_s)
    result.calm_step_s = calm_step_s([time_s for time_s, _ in times], storm.calm)
    hangs = [(hit.at_s, hit.at_s + result.patience_s) for hit in storm.hits if hit.kind == "hang"]
    result.storm_s = end_s - begin_s
    result.committed = sum(begin_s < time_s <= end_s for time_s, _ in times)
    result.possible = possible_steps(found, result.calm_step_s)
    result.possible_without_patience = possible_steps(found, result.calm_step_s, hangs)
    result.patience_excluded_s = result.patience_s * len(hangs)
    result.mean_workers = sum((s.end_s - s.begin_s) * s.workers for s in found) / result.storm_s


def _undisturbed(result: StormResult, directory: Path, epochs: int) -> None:
    job = StormJob(directory / "undisturbed")
    calm = Storm(job, workers=1, patience_s=10.0)
    try:
        job.start(workers="1:1", begin=1, patience_s=10.0, epochs=epochs)
        calm.until(lambda: job.code is not None, "the end of the undisturbed run", limit_s=7200)
        calm.look()
        result.undisturbed_sha256 = [w.end_sha for w in calm.books.workers.values() if w.end_sha is not None]
    except StormError as error:
        result.failure = f"the undisturbed run: {error}"
    finally:
        job.close()


if __name__ == "__main__":
    sys.exit(main())
