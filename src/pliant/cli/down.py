"""``pliant down``: end the coordinator."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Sequence

from pliant.cli.exit_codes import ERROR, OK
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.config import Home, home_dir
from pliant.dashboard.words import is_over
from pliant.errors import ConfigError
from pliant.wire.address import Address
from pliant.wire.http import Client, await_coordinator, no_coordinator

DEADLINE_S = 10.0


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser("down", "End the coordinator of this home directory.", example="pliant down")
    parser.add_argument("--force", action="store_true", help="also while jobs are running; they are stopped at once")
    given = parser.parse_args(argv)
    home = Home(home_dir())
    address = await_coordinator(home)
    if address is None:
        note(no_coordinator(home))
        if given.json:
            print_json({"ended": None})
        return OK
    with Client.of(home) as client:
        running = [job.name for job in client.list_jobs() if not is_over(job)]
    if running and not given.force:
        stops = ", ".join(f"`pliant stop {name}`" for name in running)
        raise ConfigError(problem(f"jobs are running: {', '.join(running)}", f"{stops}, or `pliant down --force`"))
    if not end_coordinator(home, address, running):
        note(f"error: the coordinator (pid {address.pid}) has not ended within {DEADLINE_S:g} s")
        return ERROR
    if given.json:
        print_json({"ended": address.pid})
    else:
        note(f"coordinator ended (pid {address.pid})")
    return OK


def _stop_jobs(client: Client, names: Sequence[str]) -> None:
    """Kill jobs that would have no coordinator any more; waits, for a while, until they are over."""
    for name in names:
        client.stop(name, now=True)
    deadline_s = time.monotonic() + DEADLINE_S
    while not all(is_over(client.job(name)) for name in names) and time.monotonic() < deadline_s:
        time.sleep(0.05)


def end_coordinator(home: Home, address: Address, running: Sequence[str]) -> bool:
    """Stop the running jobs at once, then SIGTERM, and wait for the end; False if it does not come.

    ``address``: of a process that answered with our token just now, so it is the right one.
    """
    with Client.of(home) as client:
        _stop_jobs(client, running)
    try:
        # A descriptor sees the end at once; the number lives on until some parent has collected the process.
        process = os.pidfd_open(address.pid)
    except ProcessLookupError:
        return True
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
        ready, _, _ = select.select([process], [], [], DEADLINE_S)
    finally:
        os.close(process)
    return bool(ready)
