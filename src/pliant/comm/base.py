"""What a process group offers to the layers above, whatever carries the bytes.

A group is one generation's view of its members. It is formed, used, and then closed or aborted; it never changes its
members (c10d's coming ``reconfigure`` has the same shape: a new group from a new list of members).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Handler(Protocol):
    """Receives the frames of one round. Called by the thread that drives the group."""

    def wants(self, peer: int) -> bool:
        """False once the last frame of this round has come from ``peer``: later ones belong to the next round."""
        ...

    def destination(self, peer: int, kind: int, index: int, size: int) -> memoryview | None:
        """Where the body (``size`` bytes) goes; None: not yet, ask again after other progress."""
        ...

    def received(self, peer: int, kind: int, index: int, body: memoryview) -> None:
        """The body is complete."""
        ...


class Group(Protocol):
    """One generation's connections. One thread at a time may drive it; ``abort`` may be called by any."""

    rank: int
    size: int
    generation: int

    def post(self, peer: int, kind: int, index: int, body: memoryview | bytes) -> None:
        """Queue a frame. The body must stay unchanged until ``drive`` has returned. Never blocks."""
        ...

    def drive(self, handler: Handler, done: Callable[[], bool]) -> None:
        """Move bytes until ``done()`` holds and all queued frames have left.

        Raises:
            GenerationOverError: the group was aborted.
            ConnectionLostError: a peer is gone. The group is of no further use.
        """
        ...

    def wake(self) -> None:
        """Have a driving thread look at ``done`` again. Any thread."""
        ...

    def exchange(self, payload: bytes) -> Sequence[bytes]:
        """Give ``payload`` to all, get everyone's (own one included) in rank order. Blocking."""
        ...

    def abort(self) -> None:
        """Shut the connections: a driving thread, here and at every peer, fails at once."""
        ...

    def close(self) -> None:
        """Close in peace, after the last round."""
        ...
