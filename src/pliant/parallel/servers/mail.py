"""What the protocol needs of whatever carries its letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pliant.parallel.servers.frames import Frame
from pliant.parallel.servers.letters import Letter


class Mail(Protocol):
    """Letters between one pair arrive in order, unless the receiver is told that some were lost. Nothing blocks.

    Frames are sent from where they lie: they must not change before the receiver has had them.
    """

    def command(self, server: str, letter: Letter, frames: Sequence[Frame] = ()) -> None:
        """To a server, of one's own accord. One that cannot be reached gets nothing."""
        ...

    def answer(self, to: str, letter: Letter, frames: Sequence[Frame] = ()) -> None:
        """To whoever has sent something: a worker, or a server that is primary. Whoever is gone gets nothing."""
        ...
