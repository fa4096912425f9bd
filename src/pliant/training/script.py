"""Running the user's script, in a worker and in a parameter server."""

from __future__ import annotations

import runpy
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Protocol

from pliant.config import WorkerSpec
from pliant.errors import PliantError

SCRIPT_RAISED = 3
"""Exit code."""


class Leaves(Protocol):
    """A crew that can ask to be let go."""

    def leave(self, reason: str) -> None:
        """Ask for it."""
        ...


def run_script(spec: WorkerSpec) -> None:
    """Run ``spec.script`` in this process, as ``python SCRIPT ARGS`` would. Raises whatever it raises."""
    sys.argv = [spec.script, *spec.args]
    sys.path.insert(0, str(Path(spec.script).resolve().parent))
    runpy.run_path(spec.script, run_name="__main__")


def leave_on_sigterm(crew: Leaves) -> None:
    """From here on SIGTERM (a spot notice) asks to leave, and Ctrl-C is the business of ``pliant run``."""

    def leave(_: int, __: FrameType | None) -> None:
        crew.leave("SIGTERM")

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
