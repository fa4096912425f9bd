"""The options of ``pliant run`` that choose the strategy, parameter servers and copies, and who waits for whom."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from difflib import get_close_matches

import msgspec

from pliant.cli.memory_sizes import memory_bytes
from pliant.cli.output import problem
from pliant.wire.api import JobSpec, Strategy
from pliant.wire.messages import UNBOUNDED

STRATEGIES: tuple[Strategy, ...] = ("all-reduce", "parameter-server")
MOST_SERVERS = 64
"""One for each slot."""
MOST_STALENESS = 1000
"""Steps; who wants more wants no bound."""
LEAST_MEMORY = 1 << 20
"""Bytes. Less is a number without its unit."""
_NO_BOUND, _SYNCHRONOUS = "none", "sync"
_DEFAULT = JobSpec(name="", script="")


@dataclass(frozen=True)
class ServerOptions:
    """What the user wants; everything in it was checked."""

    strategy: Strategy = "all-reduce"
    low: int = _DEFAULT.min_servers
    high: int = _DEFAULT.max_servers
    copies: int = _DEFAULT.copies
    staleness: int | None = None
    """As in :class:`pliant.wire.api.JobSpec`."""
    memory_bytes: int | None = None
    """Of each server; None: no limit."""

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Fewest and most servers; None if the strategy needs none."""
        return (self.low, self.high) if self.strategy == "parameter-server" else None

    def put_into(self, spec: JobSpec) -> JobSpec:
        """``spec`` with these options."""
        return msgspec.structs.replace(
            spec,
            strategy=self.strategy,
            min_servers=self.low,
            max_servers=self.high,
            copies=self.copies,
            staleness=self.staleness,
            server_memory_bytes=self.memory_bytes,
        )


def add_server_options(parser: argparse.ArgumentParser, *, resuming: bool = False) -> None:
    """Numbers are taken as text, so that all that is wrong can be told at once.

    ``resuming``: what is not given stays as it was.
    """
    add = parser.add_argument
    if resuming:
        add("--strategy", metavar="|".join(STRATEGIES), help="another one than before; the weights are the same")
        add("--servers", metavar="MIN:MAX", help="with parameter-server: bounds of the number of servers")
        add("--copies", metavar="1|2", help="with parameter-server: servers that hold each slot")
        add("--staleness", metavar="S|none|sync", help="with parameter-server: another one than before; sync: without")
        add("--server-memory", metavar="SIZE|none", help="with parameter-server: another limit; none: without")
        return
    add(
        "--strategy",
        metavar="|".join(STRATEGIES),
        default="all-reduce",
        help="who sums gradients and applies updates: the workers (the default), or parameter servers; the weights are "
        "the same to the bit, unless --staleness is given",
    )
    add(
        "--servers",
        metavar="MIN:MAX",
        help="with parameter-server: bounds of the number of servers, beginning with MIN, or with as many as --copies; "
        "2 means 2:2 (default: 1:4)",
    )
    add("--copies", metavar="1|2", help="with parameter-server: servers that hold each slot (default: 2)")
    add(
        "--staleness",
        metavar="S|none|sync",
        help="with parameter-server: workers do not wait for each other, and each shard is an update of its own. "
        f"S: a worker may be S steps ahead of the slowest (0 to {MOST_STALENESS}); none: as many as it likes; "
        "sync: all take each step together (the default). The weights no longer have the same bits each time; each "
        "sample is still used once in an epoch, and each push applied once",
    )
    add(
        "--server-memory",
        metavar="SIZE|none",
        help="with parameter-server: what each server may hold of parameters, optimizer state and tables' rows, for "
        "example 2GiB; more rows are refused, and the job ends (default: none, no limit)",
    )


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
        stale = None if given.staleness == _SYNCHRONOUS else given.staleness
        memory = None if given.server_memory == _NO_BOUND else given.server_memory
        options = {"--servers": given.servers, "--copies": given.copies}
        for option, value in (options | {"--staleness": stale, "--server-memory": memory}).items():
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
    staleness = before.staleness if given.staleness is None else _staleness(given.staleness, problems)
    memory = before.memory_bytes if given.server_memory is None else _memory(given.server_memory, problems)
    return ServerOptions(strategy, low, high, copies=copies, staleness=staleness, memory_bytes=memory)


def _memory(text: str, problems: list[str]) -> int | None:
    return None if text == _NO_BOUND else memory_bytes("--server-memory", text, problems, least=LEAST_MEMORY)


def _staleness(text: str, problems: list[str]) -> int | None:
    if text == _SYNCHRONOUS:
        return None
    if text == _NO_BOUND:
        return UNBOUNDED
    if re.fullmatch(r"\d{1,9}", text) and int(text) <= MOST_STALENESS:
        return int(text)
    what = f"--staleness {text} is not a number of steps from 0 to {MOST_STALENESS}, {_NO_BOUND} or {_SYNCHRONOUS}"
    problems.append(problem(what, f"for example --staleness 4; {_NO_BOUND}: a worker may be ahead without a bound"))
    return None


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
