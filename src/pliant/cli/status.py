"""``pliant status``: all jobs and services, or one with its workers or replicas."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json
from pliant.cli.parsing import verb_parser
from pliant.cli.report_files import write_report
from pliant.cli.service_client import ServiceClient, all_services, running_service
from pliant.config import Home, home_dir
from pliant.dashboard.service_text import service_text, services_text
from pliant.dashboard.status_text import job_text, jobs_text
from pliant.errors import ConfigError
from pliant.wire.api import JobStatus
from pliant.wire.http import Client, await_coordinator, no_coordinator

_EXAMPLE = """
pliant status
pliant status train --watch
pliant status train --json
"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser("status", "Show all jobs and services, or one and its workers or replicas.", example=_EXAMPLE)
    parser.add_argument("name", nargs="?", help="name of a job or service (default: all)")
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
    service = running_service(home, given.name)
    if service is not None:
        return _service(service, watches=given.watch, as_json=given.json)
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
    """Jobs, then services."""
    jobs: list[JobStatus] = []
    services = list(all_services(home))
    if await_coordinator(home) is not None:
        with Client.of(home) as client:
            jobs = client.list_jobs()
        why = "no jobs"
    else:
        # A fact and not a failure: without a coordinator there is no job.
        why = f"{no_coordinator(home)}; no job is known"
    if not jobs and not (services and why == "no jobs"):
        note(why)
    if as_json:
        print_json([*jobs, *services])
        return OK
    parts = [jobs_text(jobs)] if jobs else []
    parts += [services_text(services)] if services else []
    if parts:
        print("\n\n".join(parts))
    return OK


def _service(service: ServiceClient, *, watches: bool, as_json: bool) -> int:
    """One service, once or until it ends."""
    if watches:
        code: int = importlib.import_module("pliant.cli.watch_service").watch_service(service, as_json=as_json)
        return code
    status = service.status()
    if status is None:
        note(f"service {service.spec.name} has ended")
    elif as_json:
        print_json(status)
    else:
        print(service_text(status))
    return OK
