"""``pliant status NAME --watch`` of a service."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import msgspec

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json_line
from pliant.cli.service_client import ServiceClient
from pliant.dashboard.service_live import LAST_EVENTS, LiveServiceView
from pliant.dashboard.service_plain import PlainServiceView
from pliant.wire.service_api import ServiceStatus

LOOK_S = 0.5
"""Between two looks."""


def watch_service(service: ServiceClient, *, as_json: bool = False) -> int:
    """Show it until it ends or Ctrl-C, which leaves it alone. ``as_json``: a line for each change, without a view."""
    try:
        if as_json:
            _tell_changes(service)
        else:
            _show(service)
    except KeyboardInterrupt:
        return OK
    note(f"service {service.spec.name} has ended")
    return OK


def _show(service: ServiceClient) -> None:
    is_live = sys.stderr.isatty() and sys.stdout.isatty()
    view = LiveServiceView(time.monotonic) if is_live else PlainServiceView()
    # The live view says what led to what it shows; lines are about what happens from now on.
    told = max((event.seq for event in service.events()), default=0) - (LAST_EVENTS if is_live else 0)
    view.start()
    try:
        for status in _looks(service, away=view.note):
            for event in service.events(after=told):
                told = event.seq
                view.event(event)
            if status is not None:
                view.status(status)
    finally:
        view.close()


def _tell_changes(service: ServiceClient) -> None:
    told: ServiceStatus | None = None
    for status in _looks(service, away=lambda text: None):
        # Latencies are those of the last seconds, which pass; that alone is no change.
        lasting = None if status is None else msgspec.structs.replace(status, p50_s=None, p99_s=None)
        if status is not None and lasting != told:
            told = lasting
            print_json_line(status)


def _looks(service: ServiceClient, *, away: Callable[[str], None]) -> Iterator[ServiceStatus | None]:
    """What it says of itself, again and again; None as the last. ``away`` is told when it did not answer twice."""
    missed = 0
    while True:
        try:
            status = service.look()
        except TimeoutError as error:
            missed += 1
            if missed == 2:  # one that ends breaks a connection once
                away(f"{error}; waiting for it")
        else:
            missed = 0
            yield status
            if status is None:
                return
        time.sleep(LOOK_S)
