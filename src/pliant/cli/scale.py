"""``pliant scale``: another number of workers or parameter servers for a running job."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.cli.serve_options import replica_bounds
from pliant.cli.service_client import ServiceClient, running_service
from pliant.config import Home, home_dir
from pliant.dashboard.words import count, serving, training_workers
from pliant.errors import ConfigError
from pliant.wire.api import JobStatus
from pliant.wire.http import Client
from pliant.wire.service_api import BoundsRequest


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "scale",
        "Change the number of workers or parameter servers of a running job, or the bounds of a service's replicas. "
        "Returns at once; nobody stops for newcomers.",
        example="pliant scale train 3\npliant scale train --servers 2\npliant scale digits 1:4",
    )
    parser.add_argument("name", help="name of the job or service")
    parser.add_argument(
        "workers",
        metavar="K",
        nargs="?",
        help="a job: how many workers it should have, within its --workers MIN:MAX; a service: MIN:MAX, or K for K:K",
    )
    parser.add_argument(
        "--servers", metavar="N", help="a job: how many parameter servers it should have, within its --servers MIN:MAX"
    )
    given = parser.parse_args(argv)
    if given.workers is None and given.servers is None:
        raise ConfigError(
            problem("nothing to change", f"give a number of workers, for example {parser.prog} {given.name} 3")
        )
    service = running_service(Home(home_dir()), given.name)
    if service is not None:
        return _scale_service(service, given)
    problems: list[str] = []
    example = f"{parser.prog} {given.name}"
    workers = _number("K", given.workers, f"{example} 3", problems)
    servers = _number("--servers", given.servers, f"{example} --servers 2", problems)
    if problems:
        raise ConfigError(problems)
    with Client.of(Home(home_dir())) as client:
        status = client.scale(given.name, workers, servers=servers)
    if given.json:
        print_json(status)
    else:
        note(_told(status))
    return OK


def _number(option: str, text: str | None, example: str, problems: list[str]) -> int | None:
    """None if it was not given, or is wrong."""
    if text is None:
        return None
    if not re.fullmatch(r"\+?\d{1,9}", text) or int(text) < 1:
        is_not = f"{option} is {text}, not a whole number of at least 1"
        problems.append(problem(is_not, f"for example {example}"))
        return None
    return int(text)


def _told(status: JobStatus) -> str:
    text = f"{status.name}: {count(len(training_workers(status)), 'worker')}, {status.target_workers} wanted"
    if status.target_servers:
        text += f"; {count(len(serving(status)), 'server')}, {status.target_servers} wanted"
    return text


def _scale_service(service: ServiceClient, given: argparse.Namespace) -> int:
    problems: list[str] = []
    if given.servers is not None or given.workers is None:
        problems.append(
            problem(f"{given.name} is a service: it has replicas, no parameter servers", "leave --servers out")
        )
    least, most = replica_bounds("K", given.workers or "1", problems)
    if problems:
        raise ConfigError(problems)
    status = service.change("scale", BoundsRequest(least, most))
    if given.json:
        print_json(status)
    else:
        note(f"{status.name}: {status.least} to {status.most} replicas")
    return OK
