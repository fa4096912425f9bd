"""The options of ``pliant run``, checked completely before anything starts."""

from __future__ import annotations

import argparse
import os
import re
import secrets
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pliant.cli.output import problem
from pliant.cli.parsing import verb_parser
from pliant.cli.plan_file import read_plan
from pliant.cli.report_files import earlier_report
from pliant.cli.server_options import add_server_options, check_server_options
from pliant.errors import ConfigError
from pliant.wire.api import JobSpec, PlanEvent, Report

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_WORKERS = 4096
_EXAMPLE = """
pliant run --workers 1:4 train.py --epochs 10
pliant run --workers 1:3 --plan plan.toml --report report.json train.py
pliant run --checkpoint-every 100 --keep 3 train.py
pliant run --strategy parameter-server --servers 2:4 --workers 1:8 train.py
pliant run --strategy parameter-server --staleness 4 --report stale.json --compare sync.json train.py
"""


@dataclass(frozen=True)
class RunOptions:
    """What ``pliant run`` was asked for; everything in it was checked."""

    spec: JobSpec
    named: bool
    """Whether the user chose the name."""
    report: Path | None
    quiet: bool
    live: bool
    json: bool
    discard: bool = False
    """Delete the checkpoints that an earlier run left."""
    entry: str | None = None
    """``module:function`` in place of the training worker; for tests."""
    preload: str = ""
    """Modules that the template imports before ``entry`` is called; for tests."""
    page: bool = True
    """Whether a page is drawn beside the report."""
    compared: Report | None = None
    """Of an earlier run, for the report's page."""


def run_parser() -> argparse.ArgumentParser:
    """Numbers are taken as text, so that all that is wrong can be told at once."""
    parser = verb_parser(
        "run", "Train with SCRIPT on a changing number of workers, and follow it until its end.", example=_EXAMPLE
    )
    parser.usage = "pliant run [options] script.py [args...]"
    add = parser.add_argument
    add("--name", help="name of the job (default: the script's name)")
    add(
        "--workers", metavar="MIN:MAX", help="bounds of the number of workers; 3 means 3:3 (default: 1:number of cores)"
    )
    add("--start", metavar="K", help="workers at the start (default: MIN)")
    add_server_options(parser)
    add("--plan", metavar="FILE", type=Path, help="TOML file with [[event]] tables: what happens at which step")
    add(
        "--checkpoint-every",
        metavar="N",
        default="0",
        help="write a checkpoint before every Nth step (default: 0, only when the job is stopped)",
    )
    add("--keep", metavar="K", default="3", help="keep the newest K checkpoints (default: 3)")
    add(
        "--checkpoints",
        metavar="DIR",
        type=Path,
        help="directory for them (default: jobs/NAME/checkpoints in the home directory)",
    )
    add("--discard", action="store_true", help="delete the checkpoints that an earlier run of this name left")
    add("--threads", metavar="N", default="1", help="intra-op threads of each worker; part of the recipe (default: 1)")
    add("--patience", metavar="S", default="10", help="seconds to wait for a process that should answer (default: 10)")
    add("--deal", metavar="speed|even", default="speed", help="how shards are dealt to workers (default: speed)")
    add(
        "--check-every",
        metavar="N",
        default="50",
        help="compare all workers' state before every Nth step, 0: never (default: 50)",
    )
    add_view_options(parser)
    add("--entry", default=None, help=argparse.SUPPRESS)  # module:function in place of the worker, for tests
    add("--preload", default="", help=argparse.SUPPRESS)  # with it: modules that the template imports
    add("script", metavar="script.py", help="training script that uses pliant.join")
    add("args", nargs=argparse.REMAINDER, metavar="args", help="arguments of the script")
    return parser


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """What shows how a job goes and went."""
    add = parser.add_argument
    add("--report", metavar="FILE", type=Path, help="write the report there (.json), and a page beside it (.html)")
    add("--no-page", action="store_true", help="with --report: without the page, which takes a second to draw")
    add(
        "--compare",
        metavar="FILE",
        type=Path,
        help="draw the loss of an earlier run's report (.json) on that page, too",
    )
    add("--no-live", action="store_true", help="lines instead of the live view")
    add("--quiet", "-q", action="store_true", help="only what the script prints, and errors")


def check_options(given: argparse.Namespace, *, cores: int | None = None) -> RunOptions:
    """Turn parsed arguments into options. Reads the plan; writes nothing.

    Raises:
        ConfigError: With every problem, each naming the value and what to do.
    """
    problems: list[str] = []
    script = Path(given.script)
    if not script.is_file():
        problems.append(_missing_script(script))
    name = given.name if given.name is not None else _default_name(script)
    if not _NAME.fullmatch(name):
        hint = "use up to 100 letters, digits, '.', '_' and '-', beginning with a letter or digit"
        problems.append(problem(f"--name {name!r} is not a job name", hint))
    workers = f"1:{cores or len(os.sched_getaffinity(0))}" if given.workers is None else given.workers
    low, high, start = worker_bounds(workers, given.start, problems)
    threads = whole_number("--threads", given.threads, problems)
    servers = check_server_options(given, problems)
    plan = _plan(given.plan, problems, workers=(low, high), servers=servers.bounds)
    if given.report is not None:
        problems += report_problems(given.report)
    compared = earlier_report(given, problems)
    if given.deal not in ("speed", "even"):
        problems.append(problem(f"--deal {given.deal} is unknown", "use speed (as measured, the default) or even"))
    check_every = whole_number("--check-every", given.check_every, problems, least=0)
    patience_s = seconds("--patience", given.patience, problems)
    every = whole_number("--checkpoint-every", given.checkpoint_every, problems, least=0)
    keep = whole_number("--keep", given.keep, problems)
    if given.checkpoints is not None:
        problems += _directory_problems(given.checkpoints)
    if problems:
        raise ConfigError(problems)
    spec = JobSpec(
        name=name,
        script=str(script.absolute()),
        args=list(given.args),
        min_workers=low,
        max_workers=high,
        start_workers=start,
        plan=plan,
        patience_s=patience_s,
        launch=secrets.token_hex(8),
        deal=given.deal,
        threads=threads,
        check_every=check_every,
        checkpoints="" if given.checkpoints is None else str(given.checkpoints.absolute()),
        checkpoint_every=every,
        keep=keep,
    )
    return RunOptions(
        spec=servers.put_into(spec),
        named=given.name is not None,
        report=given.report,
        page=not given.no_page,
        quiet=given.quiet,
        live=not given.no_live,
        json=given.json,
        discard=given.discard,
        entry=given.entry,
        preload=given.preload,
        compared=compared,
    )


def _plan(
    path: Path | None, problems: list[str], *, workers: tuple[int, int], servers: tuple[int, int] | None
) -> list[PlanEvent]:
    if path is None:
        return []
    plan, found = read_plan(path, bounds=workers, servers=servers)
    problems += found
    return plan


def worker_bounds(text: str, start: str | None, problems: list[str]) -> tuple[int, int, int]:
    """MIN, MAX, START; something harmless where they are wrong, so that the other checks can go on."""
    parts = text.split(":")
    wrong = f"--workers {text}"
    if len(parts) > 2 or not all(re.fullmatch(r"[+-]?\d{1,9}", part) for part in parts):
        problems.append(problem(f"{wrong} is not a number or MIN:MAX", "for example --workers 3 or --workers 1:4"))
        return 1, _MOST_WORKERS, 1
    low, high = int(parts[0]), int(parts[-1])
    if low < 1 or high < 1:
        problems.append(problem(f"{wrong}: a job needs at least 1 worker", "for example --workers 1:4"))
    elif low > high:
        problems.append(problem(f"{wrong}: MIN is above MAX", f"--workers {high}:{low}?"))
    elif high > _MOST_WORKERS:
        problems.append(problem(f"{wrong}: at most {_MOST_WORKERS} workers are supported", "lower MAX"))
    else:
        return low, high, _start(start, (low, high), problems)
    _start(start, (1, _MOST_WORKERS), problems)
    return 1, _MOST_WORKERS, 1


def _start(text: str | None, bounds: tuple[int, int], problems: list[str]) -> int:
    low, high = bounds
    if text is None:
        return low
    if not re.fullmatch(r"[+-]?\d{1,9}", text):
        problems.append(problem(f"--start {text} is not a whole number", f"use {low} to {high}"))
    elif not low <= int(text) <= high:
        problems.append(problem(f"--start {text} is outside --workers {low}:{high}", f"use {low} to {high}"))
    else:
        return int(text)
    return low


def whole_number(option: str, text: str, problems: list[str], *, least: int = 1) -> int:
    """The number in ``text``; if it is none, a problem is added and something harmless returned."""
    if re.fullmatch(r"\+?\d{1,6}", text) and int(text) >= least:
        return int(text)
    problems.append(
        problem(f"{option} {text} is not a whole number of at least {least}", f"for example {option} {max(1, least)}")
    )
    return max(1, least)


def seconds(option: str, text: str, problems: list[str]) -> float:
    """The value of an option that is a time."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value < float("inf"):
        return value
    problems.append(problem(f"{option} {text} is not a number of seconds above 0", f"for example {option} 10"))
    return 1.0


def _missing_script(script: Path) -> str:
    what = f"script {script} is a directory" if script.is_dir() else f"script {script} does not exist"
    near = [str(path) for path in sorted(script.parent.glob("*.py"))] if script.parent.is_dir() else []
    close = get_close_matches(str(script), near, n=1)
    return problem(what, f"did you mean {close[0]}?" if close else "give the path of a Python file")


def report_problems(path: Path) -> list[str]:
    """Why a report cannot be written there."""
    directory = path.absolute().parent
    if path.is_dir():
        return [problem(f"--report {path} is a directory", f"for example --report {path / 'report.json'}")]
    if path.suffix == ".html":
        return [
            problem(
                f"--report {path}: the report is JSON",
                f"--report {path.with_suffix('.json')}; {path.name} is written beside it",
            )
        ]
    if not directory.is_dir():
        return [problem(f"--report {path}: directory {directory} does not exist", f"mkdir -p {directory}")]
    target = path if path.exists() else directory
    if not os.access(target, os.W_OK):
        return [problem(f"--report {path}: {target} is not writable", "choose another path")]
    return []


def _directory_problems(path: Path) -> list[str]:
    """Why checkpoints cannot be written there; it need not exist yet."""
    there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not there.is_dir():
        return [problem(f"--checkpoints {path}: {there} is not a directory", "choose another path")]
    if not os.access(there, os.W_OK | os.X_OK):
        return [problem(f"--checkpoints {path}: {there} is not writable", "choose another path")]
    return []


def _default_name(script: Path) -> str:
    """The script's name, as far as a job may be called that."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", script.stem).lstrip("._-")[:80] or "job"
