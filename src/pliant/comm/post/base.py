"""Letters between workers and parameter servers: what the layers above need, whatever carries them.

A *letter* is a small header (msgpack) and any number of frames, the bytes of tensors. Workers connect to servers, and
servers to other servers; who was connected to answers on that same connection. So a server has two sides: *inbound*,
the connections that others have made to it, and those it has made itself.

What holds on one connection, in each direction: letters arrive whole, once and in the order in which they were sent,
up to some letter. Then :class:`PeerLost` comes out of ``poll`` at both ends, and a new connection is made by itself,
told by :class:`PeerConnected`. Which of the last letters arrived is not known: whoever has had no answer says it again
(docs/design/0007). What was given to ``send`` before ``poll`` told the loss is never sent after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pliant.errors import PliantError

MAX_HEADER_BYTES = 64 << 10
MAX_FRAMES = 4096

Buffer = bytes | bytearray | memoryview
HeaderT = TypeVar("HeaderT")


@dataclass(frozen=True)
class Limits:
    """How much may be under way. The same for all members of a job: a larger letter is dropped by its receiver."""

    letter_bytes: int = 4 << 30
    """Header and frames together."""
    queued_letters: int = 10_000
    """That wait in this process for a peer that does not take them."""
    queued_bytes: int = 16 << 30


class PostFullError(PliantError):
    """A peer takes nothing, and what waits for it has reached the limit. The letter was not taken."""


class Sent(Protocol):
    """A letter that was taken: tells when the memory of its frames may be written again."""

    @property
    def done(self) -> bool:
        """The frames are not needed any more: the kernel has them, or the letter is lost. It need not have arrived."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until ``done``. A letter that is still queued gets on only in ``poll``: False at once."""
        ...


@dataclass(frozen=True, slots=True)
class Letter(Generic[HeaderT]):
    """A letter has come. ``frames`` are memory of its own, which lives as long as somebody holds it; not aligned."""

    peer: str
    inbound: bool
    """The peer has connected to this process; ``answer`` reaches it. Otherwise it is a server, and ``send`` does."""
    header: HeaderT
    frames: list[memoryview]


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A connection stands, and both ends know it."""

    peer: str
    inbound: bool


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The connection is lost, and letters with it, in both directions."""

    peer: str
    inbound: bool
    why: str


Event = Letter[HeaderT] | PeerConnected | PeerLost


class Post(Protocol[HeaderT]):
    """One process's end of all its connections. One thread at a time may use it; ``wake`` may be called by any."""

    name: str

    @property
    def endpoint(self) -> str:
        """What others give to ``connect``; empty: nobody can connect to this one."""
        ...

    @property
    def dropped(self) -> int:
        """Letters that were malformed, too large, out of place or from strangers, so far."""
        ...

    def connect(self, server: str, endpoint: str) -> None:
        """Keep a connection to a server, from now on. Never blocks; again with the same endpoint: nothing."""
        ...

    def disconnect(self, server: str) -> None:
        """Give the connection up. What waits for it is dropped, nothing more is told of it."""
        ...

    def send(self, server: str, header: bytes, frames: Sequence[Buffer] = ()) -> Sent | None:
        """Send a letter to a server, as soon as the connection stands. Never blocks.

        The memory of ``frames`` must stay as it is until the returned one is done.

        Returns:
            None: ``connect`` was not called for this server. Nothing was sent.

        Raises:
            PostFullError: too much waits already.
            ProtocolError: the letter is larger than a receiver would take.
        """
        ...

    def answer(self, client: str, header: bytes, frames: Sequence[Buffer] = ()) -> Sent | None:
        """As ``send``, to one that has connected to this process.

        Returns:
            None: it is not connected now. Nothing was sent.
        """
        ...

    def poll(self, timeout_s: float | None = None) -> list[Event[HeaderT]]:
        """What has come, in order; waits for the first up to ``timeout_s``. Whatever comes in, nothing is raised."""
        ...

    def wake(self) -> None:
        """Have ``poll`` return, the one under way or else the next. Any thread."""
        ...

    def trouble(self) -> dict[str, str]:
        """Servers that are not connected now, and why, as far as it is known."""
        ...

    def close(self, *, linger_s: float | None = None) -> None:
        """Close all connections; letters that were sent get up to ``linger_s`` to leave. Blocks no longer than that."""
        ...
