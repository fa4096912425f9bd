"""What users are shown of an exception in their script."""

from __future__ import annotations

import traceback
from pathlib import Path

from pliant.errors import PliantError


def script_traceback(error: BaseException, script: str) -> str:
    """The traceback from the user's script on; for our own errors without our frames below it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = str(Path(script))
    first = next((index for index, frame in enumerate(frames) if frame.filename == own), 0)
    shown = frames[first:]
    if isinstance(error, PliantError):
        package = str(Path(__file__).parent.parent)
        shown = traceback.StackSummary.from_list([frame for frame in shown if not frame.filename.startswith(package)])
    head = "Traceback (most recent call last):\n"
    return head + "".join(traceback.format_list(shown)) + "".join(traceback.format_exception_only(error))
