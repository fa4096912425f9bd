"""What is drawn again and again in one place on the terminal."""

from __future__ import annotations

from abc import ABC, abstractmethod

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text


class Redrawn(ABC):
    """Base of the live views. ``console``: where to draw; default: standard error."""

    def __init__(self, console: Console | None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._live: Live | None = None

    @abstractmethod
    def _render(self) -> RenderableType:
        """How it looks now; called by a thread of rich's."""

    def start(self) -> None:
        """Begin to draw, on a thread of rich's."""
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start(refresh=True)

    def note(self, text: str) -> None:
        """Above the view."""
        self._console.print(Text(text, style="yellow"))

    def close(self) -> None:
        """Draw the last state and leave it on the screen."""
        if self._live is not None:
            self._live.stop()
