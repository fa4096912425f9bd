"""What ``pliant run`` and ``pliant resume`` have in common: from a created job to its end."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
import time
from pathlib import Path

from pliant.backends.launch import Launch, start_agent, write_launch
from pliant.cli.checkpoints import discard_checkpoints
from pliant.cli.run_options import RunOptions
from pliant.cli.run_session import RunSession
from pliant.cli.worker_logs import remove_old_logs
from pliant.config import Home
from pliant.dashboard.plain import PlainView
from pliant.dashboard.view import View
from pliant.wire.api import JobSpec
from pliant.wire.http import Client


def begin_job(home: Home, client: Client, launch: Launch, *, discard: bool = False) -> subprocess.Popen[bytes]:
    """Start the agent of a job that has just been created; ``discard``: delete earlier checkpoints first.

    On failure: the job is stopped again.
    """
    spec = launch.spec
    try:
        remove_old_logs(home.job(spec.name))
        if discard:
            discard_checkpoints(Path(spec.checkpoints))
        write_launch(home, launch)
        return start_agent(home, launch)
    except BaseException:
        client.stop(spec.name, now=True)
        raise


def follow_job(home: Home, options: RunOptions, *, spec: JobSpec, agent: subprocess.Popen[bytes]) -> int:
    """Show the job until its end; returns the exit code."""
    return asyncio.run(RunSession(home, options, spec=spec, agent=agent, view=choose_view(options)).run())


def choose_view(options: RunOptions) -> View:
    """The live view on a terminal, else lines. With ``--json`` nothing but data goes to stdout."""
    if options.live and not options.quiet and sys.stderr.isatty():
        live: View = importlib.import_module("pliant.dashboard.live").LiveView(time.time, lines_to_console=options.json)
        return live
    return PlainView(out=sys.stderr if options.json else sys.stdout, quiet=options.quiet)
