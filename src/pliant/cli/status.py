"""``pliant status``: all jobs, or one with its workers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json
from pliant.cli.parsing import verb_parser
from pliant.cli.report_files import write_report
from pliant.config import Home, home_dir
from pliant.dashboard.status_text import job_text, jobs_text
from pliant.errors import ConfigError
from pliant.wire.http import Client, await_coordinator, no_coordinator

_EXAMPLE = """
pliant status
pliant status train --watch
pliant status train --json
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser("status", "Show all jobs, or one job and its workers.", example=_EXAMPLE)
    parser.add_argument("name", nargs="?", help="name of a job (default: all)")
    parser.add_argument("--watch", action="store_true", help="show it live until it ends")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write the report so far there, and a page beside it"
    )
    given = parser.parse_args(argv)
    home = Home(home_dir())
    if given.name is None:
        if given.watch or given.report is not None:
            raise ConfigError("--watch and --report need the name of a job")
        return _all(home, as_json=given.json)
    with Client.of(home) as client:
        status = client.job(given.name)
        report = None if given.report is None else client.report(given.name)
    if report is not None:
        for path in write_report(given.report, report):
            note(f"written: {path}")
    if given.watch:
        # Loaded here: the stream and the live view would double the time of a plain status.
        code: int = importlib.import_module("pliant.cli.watch").watch(home, given.name, as_json=given.json)
        return code
    if given.json:
        print_json(status)
    else:
        print(job_text(status))
    return OK


def _all(home: Home, *, as_json: bool) -> int:
    if await_coordinator(home) is None:
        # A fact and not a failure: without a coordinator there is no job.
        note(f"{no_coordinator(home)}; no job is known")
        if as_json:
            print_json([])
        return OK
    with Client.of(home) as client:
        jobs = client.list_jobs()
    if as_json:
        print_json(jobs)
    elif jobs:
        print(jobs_text(jobs))
    else:
        note("no jobs")
    return OK
