"""``pliant events``: what happened to a job or a service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, print_json_line
from pliant.cli.parsing import verb_parser
from pliant.cli.service_client import ServiceClient, find_service
from pliant.cli.stream import Away, follow
from pliant.config import Home, home_dir
from pliant.dashboard.plain import PlainView, event_line
from pliant.dashboard.service_text import service_event_line
from pliant.dashboard.words import is_over
from pliant.wire.http import Client, find_coordinator

_LOOK_S = 0.5
"""Between two looks at a service's log."""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "events",
        "Show what happened to a job, and what each event cost; or to a service.",
        example="pliant events train --follow",
    )
    parser.add_argument("name", help="name of the job or service")
    parser.add_argument("--after", type=int, default=0, metavar="SEQ", help="only events with a larger number")
    parser.add_argument("--follow", "-f", action="store_true", help="go on until the job ends; with --json a line each")
    given = parser.parse_args(argv)
    home = Home(home_dir())
    service = find_service(home, given.name)
    if service is not None and (service.status() is not None or not _is_job(home, given.name)):
        return _of_service(service, after=max(0, given.after), follows=given.follow, as_json=given.json)
    with Client.of(home) as client:
        if given.follow:
            client.job(given.name)
            return asyncio.run(_follow(home, given.name, after=max(0, given.after), as_json=given.json))
        events = client.events(given.name, after=max(0, given.after))
    if given.json:
        print_json(events)
    else:
        for event in events:
            print(event_line(event))
    return OK


def _is_job(home: Home, name: str) -> bool:
    """Whether a job of this name is known: it comes before a service that has ended."""
    if find_coordinator(home) is None:
        return False
    with Client.of(home) as client:
        return name in {job.name for job in client.list_jobs()}


def _of_service(service: ServiceClient, *, after: int, follows: bool, as_json: bool) -> int:
    """Its events so far; with ``follows`` until it has ended."""
    if as_json and not follows:
        print_json(service.events(after=after))
        return OK
    while True:
        runs = follows and service.status() is not None
        for event in service.events(after=after):
            after = event.seq
            if as_json:
                print_json_line(event)
            else:
                print(service_event_line(event), flush=True)
        if not runs:
            return OK
        time.sleep(_LOOK_S)


async def _follow(home: Home, name: str, *, after: int, as_json: bool) -> int:
    """Print events as they come. An event is told again when its cost becomes known."""
    view = PlainView(clock=lambda: 0.0)
    async for item in follow(home, name, after=after):
        if isinstance(item, Away):
            note(f"the coordinator is away ({item.why}); waiting for it")
        elif item.event is not None:
            if as_json:
                print_json_line(item.event)
            else:
                view.event(item.event)
        elif item.status is not None and is_over(item.status):
            break
    return OK
