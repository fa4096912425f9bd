"""The options of ``pliant serve``, checked all at once."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from pathlib import Path

from pliant.cli.follow_options import add_follow_options, follow_of
from pliant.cli.output import problem
from pliant.cli.parsing import verb_parser
from pliant.cli.run_options import seconds, whole_number
from pliant.errors import ConfigError
from pliant.wire.service_api import ServiceSpec, split_target

_EXAMPLE = """
pliant serve digits.py:Digits
pliant serve digits.pt --replicas 1:4 --port 8080
pliant serve net.py:Net --checkpoint runs/train/step-00001000
pliant serve net.py:Net --from-job train --every 200"""


def spec_of(given: argparse.Namespace) -> ServiceSpec:
    """The options as a spec.

    Raises:
        ConfigError: Lists every problem.
    """
    problems: list[str] = []
    file, attribute = split_target(given.target)
    path = Path(file).absolute()
    if not path.is_file():
        problems.append(problem(f"there is no file {path}", "pliant serve FILE.py:CLASS, or a TorchScript archive"))
    name = given.name if given.name is not None else (attribute or path.stem).lower()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
        problems.append(problem(f"--name is {name!r}", "letters, digits, '.', '_' and '-', at most 63"))
    least, most = replica_bounds("--replicas", given.replicas, problems)
    port = whole_number("--port", given.port, problems, least=0)
    if port > 65535:
        problems.append(f"--port is {port}, more than 65535")
    checkpoint = "" if given.checkpoint is None else checkpoint_path(given.checkpoint, problems)
    follow = follow_of(given, problems)
    if follow is None and given.canary is not None:
        problems.append(problem("--canary without new weights", "--from-job NAME, or later `pliant push --canary`"))
    spec = ServiceSpec(
        name=name,
        target=f"{path}:{attribute}" if attribute else str(path),
        python=sys.executable,
        directory=str(Path.cwd()),
        host=given.host,
        port=port,
        least=least,
        most=most,
        concurrency=float(whole_number("--target", given.concurrency, problems)),
        batch=whole_number("--batch", given.batch, problems),
        most_waiting=whole_number("--queue", given.queue, problems),
        idle_s=seconds("--idle", given.idle, problems),
        timeout_s=seconds("--timeout", given.timeout, problems),
        threads=whole_number("--threads", given.threads, problems),
        checkpoint=checkpoint,
        follow=follow,
        exact=given.exact,
        launch=secrets.token_hex(8),
        admin_token=secrets.token_urlsafe(24),
        api_key=os.environ.get("PLIANT_API_KEY", ""),
    )
    if problems:
        raise ConfigError(problems)
    return spec


def serve_parser() -> argparse.ArgumentParser:
    """What it takes."""
    parser = verb_parser(
        "serve",
        "Serve a model on as many replicas as its requests need, down to none. $PLIANT_API_KEY, if set, is the key "
        "that every request must carry.",
        example=_EXAMPLE,
    )
    parser.add_argument(
        "target",
        metavar="FILE[:CLASS]",
        help="a .py file with a pliant.Model or a torch.nn.Module; TorchScript (.pt); torch.export (.pt2)",
    )
    parser.add_argument("--name", help="of the service (default: the class, or the file)")
    parser.add_argument("--replicas", metavar="MIN:MAX", default="0:4", help="2 means 2:2 (default: 0:4)")
    parser.add_argument("--port", default="0", help="default: any that is free")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--batch", metavar="N", default="32", help="most rows of a batch (default: 32)")
    parser.add_argument(
        "--target",
        metavar="N",
        dest="concurrency",
        default="8",
        help="requests at a time for each replica (default: 8)",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="the same bits for an input, whatever batch it falls into: pads all to --batch",
    )
    parser.add_argument("--queue", metavar="N", default="1024", help="most rows that wait (default: 1024)")
    parser.add_argument("--idle", metavar="S", default="10", help="without a request for so long: MIN (default: 10)")
    parser.add_argument("--timeout", metavar="S", default="30", help="for a request (default: 30)")
    parser.add_argument("--threads", metavar="N", default="1", help="intra-op threads of a replica (default: 1)")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", metavar="DIR", help="a training job's checkpoint, for self.weights(...)")
    weights.add_argument("--from-job", metavar="NAME", help="the weights of a running job, whenever there are new ones")
    add_follow_options(parser)
    return parser


def checkpoint_path(text: str, problems: list[str]) -> str:
    """``--checkpoint`` as an absolute path; a problem more if it is no directory."""
    path = Path(text).absolute()
    if not path.is_dir():
        problems.append(problem(f"--checkpoint {path} is no directory", "a directory step-... of a training job"))
    return str(path)


def replica_bounds(option: str, text: str, problems: list[str]) -> tuple[int, int]:
    """MIN and MAX; something harmless where they are wrong, and a problem more."""
    found = re.fullmatch(r"(\d{1,4})(?::(\d{1,4}))?", text)
    if found is None:
        problems.append(problem(f"{option} {text} is not a number or MIN:MAX", f"for example {option} 0:4"))
        return 0, 1
    least = int(found[1])
    most = int(found[2]) if found[2] is not None else least
    if not 0 <= least <= most or most < 1:
        problems.append(problem(f"{option} {text}", "MIN at least 0, MAX at least 1 and not below MIN"))
    return least, most
