"""The options of ``pliant run`` that choose the strategy, and the numbers of parameter servers and copies."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from difflib import get_close_matches

from pliant.cli.output import problem
from pliant.wire.api import JobSpec, Strategy

STRATEGIES: tuple[Strategy, ...] = ("all-reduce", "parameter-server")
MOST_SERVERS = 64
"""One for each slot."""
_DEFAULT = JobSpec(name="", script="")


@dataclass(frozen=True)
class ServerOptions:
    """What the user wants; everything in it was checked."""

    strategy: Strategy = "all-reduce"
    low: int = _DEFAULT.min_servers
    high: int = _DEFAULT.max_servers
    copies: int = _DEFAULT.copies

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Fewest and most servers; None if the strategy needs none."""
        return (self.low, self.high) if self.strategy == "parameter-server" else None


def add_server_options(parser: argparse.ArgumentParser, *, resuming: bool = False) -> None:
    """Numbers are taken as text, so that all that is wrong can be told at once.

    ``resuming``: what is not given stays as it was.
    """
    add = parser.add_argument
    if resuming:
        add("--strategy", metavar="|".join(STRATEGIES), help="another one than before; the weights are the same")
        add("--servers", metavar="MIN:MAX", help="with parameter-server: bounds of the number of servers")
        add("--copies", metavar="1|2", help="with parameter-server: servers that hold each slot")
        return
    add(
        "--strategy",
        metavar="|".join(STRATEGIES),
        default="all-reduce",
        help="who sums gradients and applies updates: the workers (the default), or parameter servers; the weights are "
        "the same to the bit",
    )
    add(
        "--servers",
        metavar="MIN:MAX",
        help="with parameter-server: bounds of the number of servers, beginning with MIN; 2 means 2:2 (default: 1:4)",
    )
    add("--copies", metavar="1|2", help="with parameter-server: servers that hold each slot (default: 2)")


def check_server_options(
    given: argparse.Namespace, problems: list[str], *, before: ServerOptions | None = None
) -> ServerOptions:
    """The options; something harmless where they are wrong, so that the other checks can go on.

    Args:
        given: parsed arguments.
        problems: takes what is wrong.
        before: what holds where nothing is given.
    """
    before = ServerOptions() if before is None else before
    wanted = before.strategy if given.strategy is None else given.strategy
    strategy = next((name for name in STRATEGIES if name == wanted), None)
    if strategy is None:
        near = get_close_matches(given.strategy, STRATEGIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"use {' or '.join(STRATEGIES)}"
        problems.append(problem(f"--strategy {given.strategy} is unknown", hint))
        return ServerOptions()
    if strategy == "all-reduce":
        for option, value in (("--servers", given.servers), ("--copies", given.copies)):
            if value is not None:
                hint = "add --strategy parameter-server, or leave it out"
                problems.append(problem(f"{option} {value}: the strategy all-reduce has no servers", hint))
        return ServerOptions()
    low, high = (before.low, before.high) if given.servers is None else _bounds(given.servers, problems)
    copies = before.copies
    if given.copies is not None:
        if given.copies in ("1", "2"):
            copies = int(given.copies)
        else:
            hint = "use 2, so that the death of a server loses nothing, or 1"
            problems.append(problem(f"--copies {given.copies} is not 1 or 2", hint))
    return ServerOptions(strategy, low, high, copies)


def _bounds(text: str, problems: list[str]) -> tuple[int, int]:
    parts = text.split(":")
    wrong, example = f"--servers {text}", "for example --servers 2 or --servers 1:4"
    if len(parts) > 2 or not all(re.fullmatch(r"[+-]?\d{1,9}", part) for part in parts):
        problems.append(problem(f"{wrong} is not a number or MIN:MAX", example))
        return 1, MOST_SERVERS
    low, high = int(parts[0]), int(parts[-1])
    if low < 1 or high < 1:
        problems.append(problem(f"{wrong}: the strategy parameter-server needs at least 1 server", example))
    elif low > high:
        problems.append(problem(f"{wrong}: MIN is above MAX", f"--servers {high}:{low}?"))
    elif high > MOST_SERVERS:
        problems.append(problem(f"{wrong}: at most {MOST_SERVERS} servers are supported", "lower MAX"))
    else:
        return low, high
    return 1, MOST_SERVERS
