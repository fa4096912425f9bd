"""Reads a plan file: TOML with ``[[event]]`` tables. Finds every problem at once; starts nothing."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pliant.cli.output import problem
from pliant.wire.api import PlanEvent

ACTIONS = ("scale", "kill", "leave")
_KEYS = ("at_step", *ACTIONS)
_EXAMPLE = "for example: [[event]] / at_step = 20 / scale = 3"


def read_plan(path: Path, *, bounds: tuple[int, int]) -> tuple[list[PlanEvent], list[str]]:
    """The events of ``path`` in the order of their steps, and all problems (then the events are of no use).

    Args:
        path: The file.
        bounds: Fewest and most workers of the job.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], [problem(f"plan file {path} does not exist", "check the path given with --plan")]
    except (OSError, UnicodeDecodeError) as error:
        return [], [problem(f"plan file {path} cannot be read: {error}", "a plan is a TOML file in UTF-8")]
    return parse_plan(text, name=str(path), bounds=bounds)


def parse_plan(text: str, *, name: str, bounds: tuple[int, int]) -> tuple[list[PlanEvent], list[str]]:
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
        found = _table_problems(table, bounds=bounds)
        problems += [problem(f"plan {name}, [[event]] {number}: {what}", hint) for what, hint in found]
        if not found:
            events.append(PlanEvent(**table))
    return sorted(events, key=lambda event: event.at_step), problems


def _table_problems(table: dict[str, Any], *, bounds: tuple[int, int]) -> list[tuple[str, str]]:
    """What is wrong with one table, each with a hint."""
    found = [(f"unknown key {key!r}", _instead(key, _KEYS)) for key in table if key not in _KEYS]
    found += [
        (f"{key} = {table[key]!r} is not a whole number", f"write {key} = {_sample(key)}")
        for key in _KEYS
        if key in table and (not isinstance(table[key], int) or isinstance(table[key], bool))
    ]
    actions = [key for key in ACTIONS if key in table]
    if "at_step" not in table:
        found.append(("at_step is missing", "the event happens once that many steps are committed"))
    # An unknown key may well be the misspelt action.
    if len(actions) > 1 or (not actions and all(key in _KEYS for key in table)):
        have = "no action" if not actions else f"{len(actions)} actions ({', '.join(actions)})"
        found.append((have, "give exactly one of scale, kill, leave; use one [[event]] for each"))
    if not found:
        found += _value_problems(table, actions[0], bounds=bounds)
    return found


def _value_problems(table: dict[str, Any], action: str, *, bounds: tuple[int, int]) -> list[tuple[str, str]]:
    low, high = bounds
    found = []
    if table["at_step"] < 0:
        found.append((f"at_step = {table['at_step']} is negative", "steps are counted from 0"))
    value = table[action]
    if action == "scale" and not low <= value <= high:
        found.append(
            (f"scale = {value} is outside --workers {low}:{high}", f"use {low} to {high}, or change --workers")
        )
    if action != "scale" and not 1 <= value <= high:
        limit = f"1 to {high}" if high > 1 else "1"
        found.append((f"{action} = {value}: the job has at least 1 and at most {high} workers", f"use {limit}"))
    return found


def _sample(key: str) -> int:
    return 20 if key == "at_step" else 1


def _instead(key: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
