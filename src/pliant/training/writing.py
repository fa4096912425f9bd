"""A thread that writes what training has copied for it, at a lower priority than training."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

_NICENESS = 5
"""Training comes first, but with all processors busy the writer gets its share nevertheless."""


def reason_of(error: Exception) -> str:
    """Why something could not be written, in a line: what the system says of it where it does."""
    return error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"


class Writer:
    """One piece of work at a time. For one thread, beside the one that it starts."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """The last piece is not done yet."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, work: Callable[[], None], *, name: str) -> None:
        """Do ``work``, which must not raise, in the background; only if not :attr:`busy`."""

        def gently() -> None:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
            work()

        self._thread = threading.Thread(target=gently, name=name, daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait until the last piece is done. Blocking."""
        if self._thread is not None:
            self._thread.join()
