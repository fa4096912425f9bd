"""Reads a plan file: TOML with ``[[event]]`` tables. Finds every problem at once; starts nothing."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

from pliant.cli.output import problem
from pliant.wire.api import PlanEvent, SlowWorkers

COUNTS = ("kill", "leave", "stop", "partition")
"""Actions whose value is a number of workers."""
SERVER_COUNTS = ("kill_server", "stop_server")
"""Actions whose value is a number of parameter servers."""
OF_SERVERS = ("scale_servers", *SERVER_COUNTS)
ACTIONS = ("scale", *COUNTS, "slow", "kill_coordinator", *OF_SERVERS)
_NUMBERS = ("at_step", "scale", *COUNTS, *OF_SERVERS)
_KEYS = ("at_step", *ACTIONS)
MOST_SLOW = 1000
_SLOW = "slow = { workers = 1, factor = 3 }"
_EXAMPLE = "for example: [[event]] / at_step = 20 / scale = 3"


def read_plan(
    path: Path, *, bounds: tuple[int, int], servers: tuple[int, int] | None = None
) -> tuple[list[PlanEvent], list[str]]:
    """The events of ``path`` in the order of their steps, and all problems (then the events are of no use).

    Args:
        path: The file.
        bounds: Fewest and most workers of the job.
        servers: Fewest and most parameter servers; None if it has none.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], [problem(f"plan file {path} does not exist", "check the path given with --plan")]
    except (OSError, UnicodeDecodeError) as error:
        return [], [problem(f"plan file {path} cannot be read: {error}", "a plan is a TOML file in UTF-8")]
    return parse_plan(text, name=str(path), bounds=bounds, servers=servers)


def parse_plan(
    text: str, *, name: str, bounds: tuple[int, int], servers: tuple[int, int] | None = None
) -> tuple[list[PlanEvent], list[str]]:
    """As :func:`read_plan`, of the text itself. Pure."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return [], [problem(f"plan {name} is not valid TOML: {error}", _EXAMPLE)]
    problems = [
        problem(f"plan {name}: unknown key {key!r}", _instead(key, ("event",))) for key in content if key != "event"
    ]
    tables = content.get("event")
    if tables is None:
        if not problems:
            problems.append(problem(f"plan {name} has no [[event]]", _EXAMPLE))
        return [], problems
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(problem(f"plan {name}: 'event' is not a list of tables", "write [[event]], with two brackets"))
        return [], problems
    events: list[PlanEvent] = []
    for number, table in enumerate(tables, start=1):
        found = _table_problems(table, bounds=bounds) or _server_problems(table, bounds=servers)
        problems += [problem(f"plan {name}, [[event]] {number}: {what}", hint) for what, hint in found]
        if not found:
            events.append(_event(table))
    return sorted(events, key=lambda event: event.at_step), problems


def _table_problems(table: dict[str, Any], *, bounds: tuple[int, int]) -> list[tuple[str, str]]:
    """What is wrong with one table, each with a hint."""
    found = [(f"unknown key {key!r}", _instead(key, _KEYS)) for key in table if key not in _KEYS]
    found += [
        (f"{key} = {table[key]!r} is not a whole number", f"write {key} = {_sample(key)}")
        for key in _NUMBERS
        if key in table and not _is_whole(table[key])
    ]
    if "kill_coordinator" in table and table["kill_coordinator"] is not True:
        value = table["kill_coordinator"]
        found.append((f"kill_coordinator = {value!r} is not true", "write kill_coordinator = true, or leave it out"))
    if "slow" in table:
        found += _slow_problems(table["slow"])
    actions = [key for key in ACTIONS if key in table]
    if "at_step" not in table:
        found.append(("at_step is missing", "the event happens once that many steps are committed"))
    # An unknown key may well be the misspelt action.
    if len(actions) > 1 or (not actions and all(key in _KEYS for key in table)):
        have = "no action" if not actions else f"{len(actions)} actions ({', '.join(actions)})"
        found.append((have, f"give exactly one of {', '.join(ACTIONS)}; use one [[event]] for each"))
    if not found:
        found += _value_problems(table, actions[0], bounds=bounds)
    return found


def _server_problems(table: dict[str, Any], *, bounds: tuple[int, int] | None) -> list[tuple[str, str]]:
    """What is wrong with the value of an otherwise good table, if it is about servers."""
    action = next((key for key in OF_SERVERS if key in table), None)
    if action is None:
        return []
    value = table[action]
    if bounds is None:
        hint = "add --strategy parameter-server, or leave the event out"
        return [(f"{action} = {value}: the strategy all-reduce has no servers", hint)]
    low, high = bounds if action == "scale_servers" else (1, bounds[1])
    if low <= value <= high:
        return []
    allowed = f"{low} to {high}" if high > low else str(low)
    return [(f"{action} = {value} is outside the job's {allowed} servers", f"use {allowed}, or change --servers")]


def _value_problems(table: dict[str, Any], action: str, *, bounds: tuple[int, int]) -> list[tuple[str, str]]:
    low, high = bounds
    found = []
    if table["at_step"] < 0:
        found.append((f"at_step = {table['at_step']} is negative", "steps are counted from 0"))
    value = table["slow"]["workers"] if action == "slow" else table[action]
    if action == "scale" and not low <= value <= high:
        found.append(
            (f"scale = {value} is outside --workers {low}:{high}", f"use {low} to {high}, or change --workers")
        )
    if action in (*COUNTS, "slow") and not 1 <= value <= high:
        limit = f"1 to {high}" if high > 1 else "1"
        what = f"{action} = {value}" if action in COUNTS else f"slow: workers = {value}"
        found.append((f"{what}: the job has at least 1 and at most {high} workers", f"use {limit}"))
    return found


def _slow_problems(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return [(f"slow = {value!r} is not a table", f"write {_SLOW}")]
    names = ("workers", "factor")
    found = [(f"slow: unknown key {key!r}", _instead(key, names)) for key in value if key not in names]
    found += [(f"slow: {name} is missing", f"write {_SLOW}") for name in names if name not in value]
    if "workers" in value and not _is_whole(value["workers"]):
        found.append((f"slow: workers = {value['workers']!r} is not a whole number", f"write {_SLOW}"))
    factor = value.get("factor", 1)
    number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not number or not 1 <= factor <= MOST_SLOW or not isfinite(factor):
        found.append((f"slow: factor = {factor!r} is not a number from 1 to {MOST_SLOW}", f"write {_SLOW}; 1 ends it"))
    return found


def _event(table: dict[str, Any]) -> PlanEvent:
    slow = SlowWorkers(table["slow"]["workers"], float(table["slow"]["factor"])) if "slow" in table else None
    return PlanEvent(**(table | {"slow": slow}))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sample(key: str) -> int:
    return 20 if key == "at_step" else 1


def _instead(key: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
