"""The options of ``pliant verify``, checked completely before anything starts."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from pliant.cli.output import problem
from pliant.cli.parsing import verb_parser
from pliant.cli.plan_file import read_plan
from pliant.cli.run_options import RunOptions, check_options, run_parser, whole_number
from pliant.errors import ConfigError
from pliant.wire.api import PlanEvent

_LEAST_STEPS = 6
_EXAMPLE = """
pliant verify train.py
pliant verify --steps 200 --workers 4 train.py --epochs 3
"""


@dataclass(frozen=True)
class VerifyOptions:
    """What ``pliant verify`` was asked for; everything in it was checked."""

    run: RunOptions
    """As for an undisturbed run on one worker."""
    steps: int
    workers: int
    plan: list[PlanEvent] | None
    keep: Path | None
    json: bool


def verify_parser() -> argparse.ArgumentParser:
    """Numbers are taken as text, so that all that is wrong can be told at once."""
    parser = verb_parser(
        "verify",
        "Run SCRIPT undisturbed on one worker, then with workers that join, leave and are killed; say whether all bits "
        "are the same, and if not, where they first differ and why.",
        example=_EXAMPLE,
    )
    parser.usage = "pliant verify [options] script.py [args...]"
    add = parser.add_argument
    add("--steps", metavar="N", default="50", help="steps to run, or fewer if the script ends before (default: 50)")
    add("--workers", metavar="MAX", default="3", help="most workers at a time, at least 2 (default: 3)")
    add("--plan", metavar="FILE", type=Path, help="what happens in the disturbed run, as for `pliant run`")
    add("--threads", metavar="N", default="1", help="intra-op threads of each worker (default: 1)")
    add("--patience", metavar="S", default="10", help="seconds to wait for a process that should answer (default: 10)")
    add("--keep-traces", metavar="DIR", type=Path, help="leave the workers' traces and logs there")
    add("script", metavar="script.py", help="training script that uses pliant.join")
    add("args", nargs=argparse.REMAINDER, metavar="args", help="arguments of the script")
    return parser


def check_verify_options(given: argparse.Namespace) -> VerifyOptions:
    """Turn parsed arguments into options. Reads the plan; writes nothing.

    Raises:
        ConfigError: With every problem, each naming the value and what to do.
    """
    problems: list[str] = []
    steps = whole_number("--steps", given.steps, problems, least=_LEAST_STEPS)
    workers = whole_number("--workers", given.workers, problems, least=2)
    plan = None
    if given.plan is not None:
        plan, found = read_plan(given.plan, bounds=(1, workers))
        problems += found
    if given.keep_traces is not None and given.keep_traces.exists() and any(given.keep_traces.iterdir()):
        problems.append(problem(f"--keep-traces {given.keep_traces} is not empty", "give a new directory"))
    run = None
    try:
        words = ["--workers", "1", "--threads", given.threads, "--patience", given.patience, "--check-every", "0"]
        run = check_options(run_parser().parse_args([*words, "--quiet", "--no-live", given.script, *given.args]))
    except ConfigError as error:
        problems += error.problems
    if run is None or problems:
        raise ConfigError(problems)
    return VerifyOptions(run, steps=steps, workers=workers, plan=plan, keep=given.keep_traces, json=given.json)
