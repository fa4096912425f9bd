"""What goes where: data to stdout; errors, hints and progress to stderr."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from pliant.errors import ConfigError, PliantError


def problem(what: str, hint: str) -> str:
    """One entry of a :class:`ConfigError`: what is wrong, and, apart from it, what to do."""
    return f"{what}\n  hint: {hint}"


def print_error(error: PliantError) -> None:
    """One ``error:`` for each problem."""
    for text in error.problems if isinstance(error, ConfigError) else [str(error)]:
        print(f"error: {text}", file=sys.stderr)


def note(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """``value`` (a message, or a list of them) as JSON on stdout."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), flush=True)


def print_json_line(value: Any) -> None:
    """``value`` as one line of JSON, for streams."""
    print(msgspec.json.encode(value).decode(), flush=True)
