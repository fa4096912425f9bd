"""``pliant push``: other weights for a service, without a gap."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.follow_options import add_follow_options, canary_share, follow_of
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.cli.serve_options import checkpoint_path
from pliant.cli.service_client import find_service
from pliant.config import Home, home_dir
from pliant.errors import ConfigError
from pliant.wire.service_api import Follow, PushRequest

_EXAMPLE = """
pliant push digits --checkpoint runs/train/step-00002000
pliant push digits --checkpoint runs/train/step-00003000 --canary 10%
pliant push digits --promote
pliant push digits --from-job train --every 200"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "push", "Give a service other weights. Requests go on; returns when the new ones answer.", example=_EXAMPLE
    )
    parser.add_argument("name", help="of the service")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", metavar="DIR", help="of a training job")
    what.add_argument("--from-job", metavar="JOB", help="those of a running job, from now on")
    what.add_argument("--promote", action="store_true", help="the canary answers everything")
    what.add_argument("--rollback", action="store_true", help="drop the canary; without one, the weights before these")
    add_follow_options(parser)
    given = parser.parse_args(argv)
    home = Home(home_dir())
    service = find_service(home, given.name)
    if service is None:
        where = home.service(given.name).parent
        raise ConfigError(problem(f"there is no service {given.name} in {where}", "`pliant serve` starts one"))
    path, body = _call_of(given)
    if path == "push":
        note(f"service {given.name}: loading {given.checkpoint}")
    elif path == "follow":
        note(f"service {given.name}: waiting for the weights of job {given.from_job} at its next step")
    status = service.change(path, body)
    if given.json:
        print_json(status)
    elif status.canary is not None:
        trial = f"version {status.canary.version} answers {status.canary.share:.0%} of the requests"
        note(f"service {given.name}: {trial}, version {status.version} the others")
    else:
        note(f"service {given.name}: version {status.version} answers")
    return OK


def _call_of(given: argparse.Namespace) -> tuple[str, PushRequest | Follow | None]:
    """The call's path and body.

    Raises:
        ConfigError: Lists every problem.
    """
    problems: list[str] = []
    follow = follow_of(given, problems)
    call: tuple[str, PushRequest | Follow | None]
    if follow is not None:
        call = "follow", follow
    elif given.checkpoint is not None:
        share = canary_share(given.canary, problems)
        call = "push", PushRequest(checkpoint_path(given.checkpoint, problems), share)
    else:
        if given.canary is not None:
            problems.append("--canary goes with --checkpoint or --from-job")
        call = ("promote" if given.promote else "rollback"), None
    if problems:
        raise ConfigError(problems)
    return call
