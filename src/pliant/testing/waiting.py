"""Waiting for a named condition: no sleeps that hope for the best, and a failure that says what did not happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

DEADLINE_S = 120.0
"""Far more than anything takes on a busy machine: a test that waits so long has found a fault."""
LOOK_EVERY_S = 0.01


def wait_until(condition: Callable[[], Value | None], what: str, *, deadline_s: float = DEADLINE_S) -> Value:
    """Look again and again until ``condition()`` is true; returns its value. Blocking.

    Raises:
        AssertionError: It was not true within ``deadline_s`` seconds; names ``what`` was waited for.
    """
    end_s = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end_s:
            raise AssertionError(f"waited {deadline_s:g} s in vain: {what}")
        time.sleep(LOOK_EVERY_S)
    return value
