"""Writes a report: JSON for programs, one self-contained HTML page for people."""

from __future__ import annotations

import importlib
import os
import secrets
from pathlib import Path
from types import ModuleType

import msgspec

from pliant.dashboard.comparison import with_earlier, with_undisturbed
from pliant.dashboard.page import page
from pliant.errors import PliantError
from pliant.wire.api import Report


class PicturesError(PliantError):
    """The page's pictures cannot be drawn. Nothing was written."""


def write_json(path: Path, report: Report) -> None:
    """Write ``report`` to ``path``; a reader sees the old file or the whole new one.

    Raises:
        OSError: It could not be written; the old file is as it was.
    """
    _replace(path, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def write_html(
    path: Path,
    report: Report,
    *,
    undisturbed: Report | None = None,
    sample_text: str | None = None,
    compared: Report | None = None,
) -> None:
    """Write a page with the report's numbers and pictures.

    Args:
        path: The file; it needs no other file and no network.
        report: The elastic run.
        undisturbed: The same recipe without any event: its loss is drawn too, and the hashes are compared.
        sample_text: What the trained model has to say, shown as it is.
        compared: Instead of ``undisturbed``: some other run, whose weights may differ.

    Raises:
        PicturesError: matplotlib is not installed.
        OSError: The file could not be written; the old one is as it was.
    """
    pictures = _pictures()
    comparison = None
    if undisturbed is not None:
        comparison = with_undisturbed(report, undisturbed)
    elif compared is not None:
        comparison = with_earlier(report, compared)
    drawn = {
        "loss": pictures.loss_over_steps(report, comparison),
        "workers": pictures.workers_over_time(report),
        "costs": pictures.event_costs(report),
    }
    if comparison is not None and comparison.over_time:
        drawn["loss_over_time"] = pictures.loss_over_time(comparison)
    if report.pushes_by_staleness:
        drawn["staleness"] = pictures.staleness(report)
    text = page(report, drawn, comparison=comparison, sample_text=sample_text)
    _replace(path, text.encode())


def _pictures() -> ModuleType:
    try:
        return importlib.import_module("pliant.dashboard.pictures")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise PicturesError(
            "pictures need matplotlib, which is not installed\n  hint: pip install 'pliant[report]'"
        ) from error


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fresh.write_bytes(data)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
