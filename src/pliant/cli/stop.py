"""``pliant stop``: end a job early."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json
from pliant.cli.parsing import verb_parser
from pliant.cli.service_client import running_service
from pliant.config import Home, home_dir
from pliant.dashboard.words import is_over
from pliant.wire.http import Client


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "stop",
        "Stop a job at its next step boundary, or a service when it has answered what it has taken. Returns at once.",
        example="pliant stop train\npliant stop train --now",
    )
    parser.add_argument("name", help="name of the job or service")
    parser.add_argument("--now", action="store_true", help="kill its workers instead of waiting for a boundary")
    given = parser.parse_args(argv)
    service = running_service(Home(home_dir()), given.name)
    if service is not None:
        told = service.change("stop")
        if given.json:
            print_json(told)
        else:
            note(f"{told.name} ends once its {told.requests} requests are answered")
        return OK
    with Client.of(Home(home_dir())) as client:
        status = client.stop(given.name, now=given.now)
    if given.json:
        print_json(status)
    elif is_over(status):
        note(f"{status.name} is {status.state}")
    else:
        note(f"{status.name} stops {'at once' if given.now else 'at its next step boundary'}")
    return OK
