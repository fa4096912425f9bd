"""``pliant status NAME --watch``: the live view of a job that runs elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time

from pliant.cli.exit_codes import OK
from pliant.cli.output import print_json_line
from pliant.cli.stream import Away, follow
from pliant.config import Home
from pliant.dashboard.live import LiveView
from pliant.dashboard.plain import PlainView
from pliant.dashboard.view import View
from pliant.dashboard.words import is_over


def watch(home: Home, name: str, *, as_json: bool = False) -> int:
    """Show ``name`` until it ends or Ctrl-C, which leaves the job alone. ``as_json``: a line for each status."""
    view: View = LiveView(time.time) if sys.stderr.isatty() and not as_json else PlainView(quiet=as_json)
    view.start()
    try:
        asyncio.run(_follow(home, name, view=view, as_json=as_json))
    except KeyboardInterrupt:
        pass
    finally:
        view.close()
    return OK


async def _follow(home: Home, name: str, *, view: View, as_json: bool) -> None:
    async for item in follow(home, name):
        if isinstance(item, Away):
            view.note(f"the coordinator is away ({item.why}); waiting for it")
            continue
        if item.event is not None:
            view.event(item.event)
        if item.status is not None:
            view.status(item.status)
            if as_json:
                print_json_line(item.status)
            if is_over(item.status):
                return
