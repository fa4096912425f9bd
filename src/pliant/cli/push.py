"""``pliant push``: other weights for a service, without a gap."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from pliant.cli.exit_codes import OK
from pliant.cli.output import note, print_json, problem
from pliant.cli.parsing import verb_parser
from pliant.cli.serve_options import checkpoint_path
from pliant.cli.service_client import find_service
from pliant.config import Home, home_dir
from pliant.errors import ConfigError
from pliant.wire.service_api import PushRequest

_EXAMPLE = """
pliant push digits --checkpoint runs/train/step-00002000
pliant push digits --checkpoint runs/train/step-00003000 --canary 10%
pliant push digits --promote"""


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    parser = verb_parser(
        "push", "Give a service other weights. Requests go on; returns when the new ones answer.", example=_EXAMPLE
    )
    parser.add_argument("name", help="of the service")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--checkpoint", metavar="DIR", help="of a training job")
    what.add_argument("--promote", action="store_true", help="the canary answers everything")
    what.add_argument("--rollback", action="store_true", help="drop the canary; without one, the weights before these")
    parser.add_argument("--canary", metavar="P%", help="only this share of the requests, until --promote or --rollback")
    given = parser.parse_args(argv)
    home = Home(home_dir())
    service = find_service(home, given.name)
    if service is None:
        where = home.service(given.name).parent
        raise ConfigError(problem(f"there is no service {given.name} in {where}", "`pliant serve` starts one"))
    path, body = _call_of(given)
    if path == "push":
        note(f"service {given.name}: loading {given.checkpoint}")
    status = service.change(path, body)
    if given.json:
        print_json(status)
    elif status.canary is not None:
        trial = f"version {status.canary.version} answers {status.canary.share:.0%} of the requests"
        note(f"service {given.name}: {trial}, version {status.version} the others")
    else:
        note(f"service {given.name}: version {status.version} answers")
    return OK


def _call_of(given: argparse.Namespace) -> tuple[str, PushRequest | None]:
    """The call's path and body.

    Raises:
        ConfigError: Lists every problem.
    """
    if given.checkpoint is None:
        if given.canary is not None:
            raise ConfigError("--canary goes with --checkpoint")
        return ("promote" if given.promote else "rollback"), None
    problems: list[str] = []
    path = checkpoint_path(given.checkpoint, problems)
    share = 0.0
    if given.canary is not None:
        found = re.fullmatch(r"(\d{1,2}(?:\.\d+)?)%", given.canary)
        share = float(found[1]) / 100 if found else 0.0
        if share <= 0:
            problems.append(problem(f"--canary {given.canary} is no share", "for example --canary 10%"))
    if problems:
        raise ConfigError(problems)
    return "push", PushRequest(path, share)
