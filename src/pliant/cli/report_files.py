"""A report's files: the JSON file, and the page with pictures beside it where matplotlib is installed."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import msgspec

from pliant.cli.output import note, problem
from pliant.errors import PliantError
from pliant.wire.api import Report


def write_report(path: Path, report: Report, *, with_page: bool = True, compared: Report | None = None) -> list[Path]:
    """Write ``path`` (JSON) and, ``with_page``, the ``.html`` page beside it; returns what was written.

    ``compared``: of an earlier run, whose loss is drawn beside this one's. A page that cannot be made is a note on
    stderr: the numbers are all in the JSON file.
    """
    files = importlib.import_module("pliant.dashboard.report")
    page = path.with_suffix(".html")
    try:
        files.write_json(path, report)
    except OSError as error:
        note(f"error: the report could not be written to {path}: {error}")
        return []
    if not with_page:
        return [path]
    try:
        files.write_html(page, report, compared=compared)
    except (OSError, PliantError) as error:
        note(f"warning: no page {page}: {error}")
        return [path]
    return [path, page]


def earlier_report(given: argparse.Namespace, problems: list[str]) -> Report | None:
    """The report in ``--compare PATH``; None if there is none, or if it adds a problem."""
    path: Path | None = given.compare
    if given.no_page and given.report is None:
        problems.append(problem("--no-page without a report", "--report FILE --no-page writes the JSON file alone"))
    if path is None:
        return None
    if given.report is None or given.no_page:
        hint = "leave --no-page out" if given.no_page else "add --report FILE"
        problems.append(problem(f"--compare {path}: there is no page to draw it on", hint))
    hint = "give the JSON file that an earlier run wrote with --report"
    if path.suffix == ".html":
        hint = f"--compare {path.with_suffix('.json')}: the numbers are in the JSON file beside the page"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except OSError as error:
        problems.append(problem(f"--compare {path} cannot be read: {error.strerror}", hint))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(problem(f"--compare {path} is not a report: {error}", hint))
    return None
