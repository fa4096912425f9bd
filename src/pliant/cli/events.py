"""``pliant events``: what happened to a job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, print_json_line
from pliant.cli.parsing import verb_parser
from pliant.cli.stream import Away, follow
from pliant.config import Home, home_dir
from pliant.dashboard.plain import PlainView, event_line
from pliant.dashboard.words import is_over
from pliant.wire.http import Client


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "events", "Show what happened to a job, and what each event cost.", example="pliant events train --follow"
    )
    parser.add_argument("name", help="name of the job")
    parser.add_argument("--after", type=int, default=0, metavar="SEQ", help="only events with a larger number")
    parser.add_argument("--follow", "-f", action="store_true", help="go on until the job ends; with --json a line each")
    given = parser.parse_args(argv)
    home = Home(home_dir())
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
