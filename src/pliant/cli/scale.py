"""``pliant scale``: another number of workers for a running job."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.config import Home, home_dir
from pliant.dashboard.words import count, training_workers
from pliant.errors import ConfigError
from pliant.wire.http import Client


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "scale",
        "Change the number of workers of a running job. Returns at once; nobody stops for newcomers.",
        example="pliant scale train 3",
    )
    parser.add_argument("name", help="name of the job")
    parser.add_argument("workers", metavar="K", help="how many workers it should have, within its --workers MIN:MAX")
    given = parser.parse_args(argv)
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
