"""``pliant scale``: another number of workers for a running job."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.cli.serve_options import replica_bounds
from pliant.cli.service_client import ServiceClient, running_service
from pliant.config import Home, home_dir
from pliant.dashboard.words import count, training_workers
from pliant.errors import ConfigError
from pliant.wire.http import Client
from pliant.wire.service_api import BoundsRequest


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "scale",
        "Change the number of workers of a running job, or the bounds of a service's replicas. Returns at once; nobody "
        "stops for newcomers.",
        example="pliant scale train 3\npliant scale digits 1:4",
    )
    parser.add_argument("name", help="name of the job or service")
    parser.add_argument(
        "workers",
        metavar="K",
        help="a job: how many workers it should have, within its --workers MIN:MAX; a service: MIN:MAX, or K for K:K",
    )
    given = parser.parse_args(argv)
    service = running_service(Home(home_dir()), given.name)
    if service is not None:
        return _scale_service(service, given.workers, as_json=given.json)
    if not re.fullmatch(r"\+?\d{1,9}", given.workers) or int(given.workers) < 1:
        raise ConfigError(
            problem(
                f"K is {given.workers}, not a whole number of at least 1", f"for example {parser.prog} {given.name} 3"
            )
        )
    with Client.of(Home(home_dir())) as client:
        status = client.scale(given.name, int(given.workers))
    if given.json:
        print_json(status)
    else:
        note(f"{status.name}: {count(len(training_workers(status)), 'worker')}, {status.target_workers} wanted")
    return OK


def _scale_service(service: ServiceClient, text: str, *, as_json: bool) -> int:
    problems: list[str] = []
    least, most = replica_bounds("K", text, problems)
    if problems:
        raise ConfigError(problems)
    status = service.change("scale", BoundsRequest(least, most))
    if as_json:
        print_json(status)
    else:
        note(f"{status.name}: {status.least} to {status.most} replicas")
    return OK
