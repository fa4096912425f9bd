"""``pliant resume``: a job that is over goes on from its newest good checkpoint, at any number of workers."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pliant.backends.coordinator_process import ensure_coordinator
from pliant.backends.launch import Launch, read_launch
from pliant.cli.checkpoints import newest_checkpoint, tables_in
from pliant.cli.exit_codes import OK, of_job
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.cli.plan_file import read_plan
from pliant.cli.report_files import earlier_report, write_report
from pliant.cli.run_job import begin_job, follow_job
from pliant.cli.run_options import (
    RunOptions,
    add_view_options,
    report_problems,
    seconds,
    whole_number,
    worker_bounds,
)
from pliant.cli.server_options import ServerOptions, add_server_options, check_server_options
from pliant.cli.watch import watch
from pliant.config import Home, home_dir
from pliant.dashboard.words import is_over
from pliant.errors import ConfigError, CoordinatorError
from pliant.wire.api import JobSpec, JobStatus, PlanEvent
from pliant.wire.http import Client

_EXAMPLE = """
pliant resume train
pliant resume train --workers 1:8 --start 4 --report report.json
"""
_MISSING, _REFUSED = 404, 422


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    given = _parser().parse_args(argv)
    home = Home(home_dir().absolute())
    ensure_coordinator(home)
    with Client.of(home) as client:
        status = _status(client, given.name)
        if status is not None and not is_over(status):
            return _follow(home, client, status, given)
        if status is not None and status.state == "finished":
            raise ConfigError(problem(f"job {given.name} is finished", "there is nothing left to go on with"))
        launch, options = check_resume(home, given)
        try:
            client.create_job(launch.spec)
        except CoordinatorError as error:
            if error.status == _REFUSED:
                raise ConfigError(str(error).splitlines()) from error
            raise
        agent = begin_job(home, client, launch)
    return follow_job(home, options, spec=launch.spec, agent=agent)


def _status(client: Client, name: str) -> JobStatus | None:
    try:
        return client.job(name)
    except CoordinatorError as error:
        if error.status == _MISSING:
            return None
        raise


def _follow(home: Home, client: Client, status: JobStatus, given: argparse.Namespace) -> int:
    """The job lives: its coordinator has taken it up, or it never stopped. Show it to its end, as it is."""
    problems = list[str]()
    compared = earlier_report(given, problems)
    if problems:
        raise ConfigError(problems)
    numbers = (given.workers, given.start, given.servers, given.copies, given.checkpoint_every, given.keep)
    if any((*numbers, given.staleness, given.server_memory, given.plan, given.patience, given.strategy)):
        note(f"warning: job {status.name} lives, so it keeps its options; `pliant scale` changes its number of workers")
    note(f"job {status.name} goes on by itself ({status.state}, step {status.step}): following it")
    watch(home, status.name, as_json=False)
    final = client.job(status.name)
    if given.report is not None:
        for path in write_report(
            given.report, client.report(status.name), with_page=not given.no_page, compared=compared
        ):
            note(f"written: {path}")
    if given.json:
        print_json(client.report(status.name))
    return of_job(final) if is_over(final) else OK


def check_resume(home: Home, given: argparse.Namespace) -> tuple[Launch, RunOptions]:
    """How the job was started, with what is to be different now. Writes nothing.

    Raises:
        CoordinatorError: 404: no job of this name was ever started.
        ConfigError: There is no checkpoint, or an option is wrong; with every problem.
    """
    if not (home.job(given.name) / "launch.json").exists():
        raise CoordinatorError(f"no job named {given.name!r} was ever started in {home.path}", status=_MISSING)
    launch = read_launch(home, given.name)
    old, problems = launch.spec, list[str]()
    if newest_checkpoint(old.checkpoints) is None:
        where = f" in {old.checkpoints}" if old.checkpoints else ""
        problems.append(
            problem(
                f"job {old.name} has left no checkpoint{where}",
                "run it again with --checkpoint-every N; `pliant stop` leaves one as well",
            )
        )
    if not Path(old.script).is_file():
        problems.append(problem(f"its script {old.script} does not exist any more", "put it back"))
    compared = earlier_report(given, problems)
    spec = _changed(old, given, problems)
    if given.strategy == "all-reduce":
        problems += _tables_problem(old)
    if problems:
        raise ConfigError(problems)
    options = RunOptions(
        spec=spec,
        named=True,
        report=given.report,
        page=not given.no_page,
        quiet=given.quiet,
        live=not given.no_live,
        json=given.json,
        entry=launch.entry,
        compared=compared,
    )
    return msgspec.structs.replace(launch, spec=spec), options


def _tables_problem(old: JobSpec) -> list[str]:
    """What is wrong with going on without parameter servers."""
    if newest_checkpoint(old.checkpoints) is None or not (tables := tables_in(old.checkpoints)):
        return []
    what = f"--strategy all-reduce: job {old.name} has the tables {', '.join(tables)}, which parameter servers hold"
    return [problem(what, "leave it out: the job goes on with parameter servers")]


def _changed(old: JobSpec, given: argparse.Namespace, problems: list[str]) -> JobSpec:
    low, high, start = old.min_workers, old.max_workers, old.start_workers
    if given.workers is not None or given.start is not None:
        text = given.workers if given.workers is not None else f"{low}:{high}"
        low, high, start = worker_bounds(text, given.start, problems)
    before = ServerOptions(
        old.strategy,
        old.min_servers,
        old.max_servers,
        copies=old.copies,
        staleness=old.staleness,
        memory_bytes=old.server_memory_bytes,
    )
    servers = check_server_options(given, problems, before=before)
    plan, plan_problems = list[PlanEvent](), list[str]()
    if given.plan is not None:
        plan, plan_problems = read_plan(given.plan, bounds=(low, high), servers=servers.bounds)
    problems += plan_problems
    if given.report is not None:
        problems += report_problems(given.report)
    every, keep, patience_s = old.checkpoint_every, old.keep, old.patience_s
    if given.checkpoint_every is not None:
        every = whole_number("--checkpoint-every", given.checkpoint_every, problems, least=0)
    if given.keep is not None:
        keep = whole_number("--keep", given.keep, problems)
    if given.patience is not None:
        patience_s = seconds("--patience", given.patience, problems)
    spec = msgspec.structs.replace(
        old,
        resume=True,
        launch=secrets.token_hex(8),
        min_workers=low,
        max_workers=high,
        start_workers=start,
        plan=plan,
        checkpoint_every=every,
        keep=keep,
        patience_s=patience_s,
    )
    return servers.put_into(spec)


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "resume",
        "Go on with a job that was stopped, failed or was lost, from its newest good checkpoint: with the same script, "
        "arguments, threads, directory and environment, at any number of workers. What is not given stays as it was.",
        example=_EXAMPLE,
    )
    add = parser.add_argument
    add("name", help="name of the job")
    add("--workers", metavar="MIN:MAX", help="bounds of the number of workers; 3 means 3:3")
    add("--start", metavar="K", help="workers at the start (with --workers, default: MIN)")
    add_server_options(parser, resuming=True)
    add("--plan", metavar="FILE", type=Path, help="TOML file with [[event]] tables (default: no plan)")
    add("--checkpoint-every", metavar="N", help="a checkpoint before every Nth step; 0: only when it is stopped")
    add("--keep", metavar="K", help="keep the newest K checkpoints")
    add("--patience", metavar="S", help="seconds to wait for a process that should answer")
    add_view_options(parser)
    return parser
