"""``pliant run``: checks the input, finds or starts the coordinator, creates the job, starts its agent, follows it."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import time
from collections.abc import Sequence

import msgspec

from pliant.backends.coordinator_process import ensure_coordinator
from pliant.backends.launch import launch_here, start_agent, write_launch
from pliant.cli.output import problem
from pliant.cli.run_options import RunOptions, check_options, run_parser
from pliant.cli.run_session import RunSession
from pliant.cli.worker_logs import remove_old_logs
from pliant.config import Home, home_dir
from pliant.dashboard.plain import PlainView
from pliant.dashboard.view import View
from pliant.errors import ConfigError, CoordinatorError
from pliant.wire.api import JobSpec
from pliant.wire.http import Client

_CONFLICT = 409
_MOST_DERIVED_NAMES = 100


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    options = check_options(run_parser().parse_args(argv))
    home = Home(home_dir().absolute())
    ensure_coordinator(home)
    spec, agent = start_job(home, options)
    return asyncio.run(RunSession(home, options, spec=spec, agent=agent, view=choose_view(options)).run())


def start_job(home: Home, options: RunOptions) -> tuple[JobSpec, subprocess.Popen[bytes]]:
    """Create the job and start its agent. On failure there is neither.

    Raises:
        ConfigError, CoordinatorError: See :func:`create_job`.
    """
    with Client.of(home) as client:
        spec = create_job(client, options)
        try:
            remove_old_logs(home.job(spec.name))
            launch = launch_here(spec, entry=options.entry, preload=options.preload)
            write_launch(home, launch)
            agent = start_agent(home, launch)
        except BaseException:
            client.stop(spec.name, now=True)
            raise
    return spec, agent


def create_job(client: Client, options: RunOptions) -> JobSpec:
    """Create the job. A name that the user did not choose gets a number if it is taken.

    Raises:
        ConfigError: The name is taken, or the coordinator found a problem.
        CoordinatorError: It cannot be reached.
    """
    first = options.spec.name
    for number in range(1, _MOST_DERIVED_NAMES):
        spec = options.spec if number == 1 else msgspec.structs.replace(options.spec, name=f"{first}-{number}")
        try:
            client.create_job(spec)
        except CoordinatorError as error:
            if error.status == _CONFLICT and not options.named:
                continue
            if error.status == 422:
                raise ConfigError(str(error).splitlines()) from error
            raise
        return spec
    raise ConfigError(
        problem(f"the names {first}, {first}-2, ... are all taken by running jobs", "choose one with --name")
    )


def choose_view(options: RunOptions) -> View:
    """The live view on a terminal, else lines. With ``--json`` nothing but data goes to stdout."""
    if options.live and not options.quiet and sys.stderr.isatty():
        live: View = importlib.import_module("pliant.dashboard.live").LiveView(time.time, lines_to_console=options.json)
        return live
    return PlainView(out=sys.stderr if options.json else sys.stdout, quiet=options.quiet)
