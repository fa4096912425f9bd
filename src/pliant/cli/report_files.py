"""Writes a report: the JSON file, and the page with pictures beside it where matplotlib is installed."""

from __future__ import annotations

import importlib
from pathlib import Path

from pliant.cli.output import note
from pliant.errors import PliantError
from pliant.wire.api import Report


def write_report(path: Path, report: Report) -> list[Path]:
    """Write ``path`` (JSON) and the ``.html`` page beside it; returns what was written.

    A page that cannot be made is a note on stderr: the numbers are all in the JSON file.
    """
    files = importlib.import_module("pliant.dashboard.report")
    page = path.with_suffix(".html")
    try:
        files.write_json(path, report)
    except OSError as error:
        note(f"error: the report could not be written to {path}: {error}")
        return []
    try:
        files.write_html(page, report)
    except (OSError, PliantError) as error:
        note(f"warning: no page {page}: {error}")
        return [path]
    return [path, page]
