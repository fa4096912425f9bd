"""Which tables ``pliant export`` writes, in which format, and where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from pliant.cli.output import problem
from pliant.errors import ConfigError

FORMATS = ("safetensors", "parquet")
_FILE_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Target:
    """A table that is wanted, and the new file for it; None: nothing is to be written."""

    table: str
    path: Path | None = None
    kind: str | None = None


def choose_targets(tables: Sequence[str], *, table: str | None, kind: str | None, out: Path | None) -> list[Target]:
    """What ``--table``, ``--format`` and ``--out`` mean for a checkpoint that has these tables.

    Raises:
        ConfigError: Lists every problem.
    """
    problems: list[str] = []
    wanted = list(tables) if table is None else [table]
    if table is not None and table not in tables:
        near = get_close_matches(table, tables, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(tables)}"
        problems.append(problem(f"--table {table}: the checkpoint has no such table", hint))
    chosen = _format_of(kind, out, problems)
    paths = [] if out is None or chosen is None else _paths_of(wanted, chosen, out, problems)
    if problems:
        raise ConfigError(problems)
    if not paths:
        return [Target(name) for name in wanted]
    return [Target(name, path, chosen) for name, path in zip(wanted, paths, strict=True)]


def _format_of(kind: str | None, out: Path | None, problems: list[str]) -> str | None:
    if kind is not None and kind not in FORMATS:
        near = get_close_matches(kind, FORMATS, n=1)
        problems.append(problem(f"--format {kind} is unknown", f"use {near[0] if near else ' or '.join(FORMATS)}"))
        return None
    if out is None:
        if kind is not None:
            problems.append(problem(f"--format {kind} without --out: nothing would be written", "add --out FILE"))
        return None
    if kind is None:
        kind = out.suffix[1:]
        if kind not in FORMATS:
            hint = f"add --format {' or --format '.join(FORMATS)}, or let --out end in .{FORMATS[0]} or .{FORMATS[1]}"
            problems.append(problem(f"--out {out} does not say in which format", hint))
            return None
    return kind


def _paths_of(tables: Sequence[str], kind: str, out: Path, problems: list[str]) -> list[Path]:
    into_directory = out.is_dir() or len(tables) > 1 or not out.suffix
    if into_directory and out.suffix[1:] in FORMATS and not out.is_dir():
        what = f"--out {out} is one file, and there are the tables {', '.join(tables)}"
        problems.append(problem(what, "choose one with --table, or give a directory"))
        return []
    if into_directory:
        for table in tables:
            if not _FILE_STEM.fullmatch(table):
                hint = "write it by itself: --table and --out FILE"
                problems.append(problem(f"table {table!r} has a name that is no file's", hint))
    paths = [out / f"{table}.{kind}" for table in tables] if into_directory else [out]
    problems += [
        problem(f"{path} is there already", "choose another --out, or delete it") for path in paths if path.exists()
    ]
    return paths
