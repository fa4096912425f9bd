"""``--from-job``, ``--every`` and ``--canary``: what ``serve`` and ``push`` have in common."""

from __future__ import annotations

import argparse
import re

from pliant.cli.output import problem
from pliant.cli.run_options import whole_number
from pliant.config import home_dir
from pliant.wire.service_api import Follow

EVERY = "100"


def add_follow_options(parser: argparse.ArgumentParser) -> None:
    """But for ``--from-job`` itself, which excludes others."""
    parser.add_argument("--every", metavar="N", help=f"with --from-job: steps of the job (default: {EVERY})")
    parser.add_argument("--canary", metavar="P%", help="new weights answer this share, until --promote or --rollback")


def follow_of(given: argparse.Namespace, problems: list[str]) -> Follow | None:
    """The job to follow; None if there is none. What is wrong with the options is a problem more."""
    if given.from_job is None:
        if given.every is not None:
            problems.append(problem("--every without a job to follow", "--from-job NAME --every N"))
        return None
    return Follow(
        job=given.from_job,
        home=str(home_dir().absolute()),
        every=whole_number("--every", given.every or EVERY, problems),
        canary=canary_share(given.canary, problems),
    )


def canary_share(text: str | None, problems: list[str]) -> float:
    """``10%`` as 0.1; 0 if there is none."""
    if text is None:
        return 0.0
    found = re.fullmatch(r"(\d{1,2}(?:\.\d+)?)%", text)
    share = float(found[1]) / 100 if found else 0.0
    if share <= 0:
        problems.append(problem(f"--canary {text} is no share", "for example --canary 10%"))
    return share
