"""``pliant run``: checks the input, finds or starts the coordinator, creates the job, starts its agent, follows it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pliant.backends.coordinator_process import ensure_coordinator
from pliant.backends.launch import launch_here
from pliant.cli.checkpoints import newest_checkpoint, step_of
from pliant.cli.output import problem
from pliant.cli.run_job import begin_job, follow_job
from pliant.cli.run_options import RunOptions, check_options, run_parser
from pliant.config import Home, home_dir
from pliant.dashboard.words import is_over
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
    return follow_job(home, options, spec=spec, agent=agent)


def start_job(home: Home, options: RunOptions) -> tuple[JobSpec, subprocess.Popen[bytes]]:
    """Create the job and start its agent. On failure there is neither.

    Raises:
        ConfigError, CoordinatorError: See :func:`create_job`.
    """
    with Client.of(home) as client:
        spec = create_job(client, options, home=home)
        launch = launch_here(spec, entry=options.entry, preload=options.preload)
        return spec, begin_job(home, client, launch, discard=options.discard)


def create_job(client: Client, options: RunOptions, *, home: Home) -> JobSpec:
    """Create the job. A name that the user did not choose gets a number if it is taken, or has checkpoints.

    Raises:
        ConfigError: The name is taken, or has checkpoints, or the coordinator found a problem.
        CoordinatorError: It cannot be reached.
    """
    first, chosen = options.spec.name, options.spec.checkpoints
    for number in range(1, _MOST_DERIVED_NAMES):
        name = first if number == 1 else f"{first}-{number}"
        checkpoints = chosen or str(home.job(name) / "checkpoints")
        spec = msgspec.structs.replace(options.spec, name=name, checkpoints=checkpoints)
        old = None if options.discard else newest_checkpoint(checkpoints)
        if old is not None and not chosen and not options.named:
            continue
        if old is not None and not _is_live(client, name):
            raise _has_checkpoints(spec, old)
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
        problem(
            f"the names {first}, {first}-2, ... are all taken, by running jobs or by checkpoints",
            "choose one with --name",
        )
    )


def _has_checkpoints(spec: JobSpec, newest: Path) -> ConfigError:
    """A new run neither goes on from checkpoints unasked, nor deletes them, nor mixes its own with them."""
    hints = f"`pliant resume {spec.name}` goes on from it; --name or --checkpoints with something else keeps it; "
    what = f"{spec.checkpoints} has a checkpoint of an earlier run, before step {step_of(newest)}"
    return ConfigError(problem(what, hints + "--discard deletes all that are there"))


def _is_live(client: Client, name: str) -> bool:
    """A job of this name runs: then that is what is in the way."""
    try:
        return not is_over(client.job(name))
    except CoordinatorError as error:
        if error.status == 404:
            return False
        raise
