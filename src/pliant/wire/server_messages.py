"""What parameter servers, workers and the coordinator say to each other about who holds which slot.

A *slot* is the unit in which servers hold state: one of :data:`SLOTS` parts of the dense parameters and of every
table (docs/design/0007). Servers speak over the WebSocket ``/v1/servers``; workers get :class:`PlaceSlots` on theirs.
What may be said in which direction is in :mod:`pliant.wire.server_talk`.
"""

from __future__ import annotations

import msgspec

from pliant.wire.message import Message

SLOTS = 64
"""Of every job: enough to balance a few dozen servers, few enough to be told of one by one."""


class SlotPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who holds one slot. ``holders``: servers with all of it, the primary first. ``filling``: who is being sent it."""

    holders: list[str]
    filling: list[str] = []


class ServerAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a server listens: a ZeroMQ endpoint."""

    server: str
    endpoint: str


class PlaceSlots(Message, frozen=True):
    """To workers and servers: from now on this placement holds. ``slots`` has one entry for each slot, in order."""

    version: int
    slots: list[SlotPlace]
    servers: list[ServerAddress]


class ServerHello(Message, frozen=True):
    """First frame of a server, as soon as its endpoint listens; again after a reconnect."""

    job: str
    server: str
    pid: int
    endpoint: str
    version: int = 0
    """Of the newest placement that it knows."""
    launch: str = ""


class ServerWelcome(Message, frozen=True):
    """Answer to ``ServerHello``."""

    patience_s: float
    memory_bytes: int | None = None
    """As in :class:`pliant.wire.api.JobSpec`."""


class SlotsFilled(Message, frozen=True):
    """Server: it has all of these slots, which placement ``version`` had it be sent, and every command since.

    Said only once the primary waits for this server's word as for that of a full holder: as soon as the coordinator
    hears it, the primary may be another one, and the old holder may be let go.
    """

    version: int
    """In which the one that has sent them was their primary; an older one than the last change of it is ignored."""
    slots: list[int]
    size_bytes: int = 0
    """Received for them, for the event."""


class SlotsRefused(Message, frozen=True):
    """Server: it has no room for these slots, which placement ``version`` had it be sent. It keeps nothing of them."""

    version: int
    slots: list[int]
    why: str


class ServerProgress(Message, frozen=True):
    """Server, at most a few times a second, for the status."""

    size_bytes: int
    """Of parameters, optimizer state and rows held here."""
    rows: int = 0
    updates: int = 0
    """Newest update that has been applied."""
    dropped: int = 0
    """Frames that were malformed or from strangers."""


class ServerFailed(Message, frozen=True):
    """The script raised before ``pliant.join``, or what a worker asked cannot be done (an optimizer that cannot be
    cut in slices). Nothing to retry: the job ends.
    """

    error: str
    traceback: str = ""


class ServerLeaving(Message, frozen=True):
    """The server was asked to go (SIGTERM): others are to hold its slots; it is retired once they do."""

    reason: str
