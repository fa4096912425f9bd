"""The agent's process. Never imports torch: the template that it forks workers from does."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pliant.backends.agent.service import Agent, AgentOptions
from pliant.backends.child import DEFAULT_ENTRY
from pliant.backends.devices import visible_gpus
from pliant.backends.local import PRELOAD, LocalBackend
from pliant.config import Home
from pliant.errors import PliantError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pliant.backends.agent",
        description="Starts the worker processes of one job on this machine. Started by `pliant run`.",
    )
    parser.add_argument("--home", required=True, type=Path, help="the coordinator's directory")
    parser.add_argument("--job", required=True, help="name of a job that the coordinator knows")
    parser.add_argument("--script", required=True, help="the training script")
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads of each worker (default: 1)")
    parser.add_argument("--launch", default="", help="which start of a job of this name it is for")
    parser.add_argument("--entry", default=DEFAULT_ENTRY, help=argparse.SUPPRESS)
    parser.add_argument("--preload", default=",".join(PRELOAD), help=argparse.SUPPRESS)
    parser.add_argument("--lonely-s", type=float, default=60.0, help=argparse.SUPPRESS)
    parser.add_argument("args", nargs="*", help="after `--`: arguments of the script")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run an agent until its job is over. Returns the process's exit code."""
    given = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s")
    # OpenMP and MKL read these once, when the template imports torch.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(given.threads)
    options = AgentOptions(
        home=Home(given.home.absolute()),
        job=given.job,
        script=given.script,
        args=tuple(given.args),
        threads=given.threads,
        launch=given.launch,
        lonely_s=given.lonely_s,
    )
    options.home.job(options.job).mkdir(mode=0o700, parents=True, exist_ok=True)
    backend = LocalBackend(
        entry=given.entry, preload=[name for name in given.preload.split(",") if name], gpus=visible_gpus()
    )
    try:
        return asyncio.run(_run(options, backend))
    except PliantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


async def _run(options: AgentOptions, backend: LocalBackend) -> int:
    return await Agent(options, backend).run()


if __name__ == "__main__":
    sys.exit(main())
