"""What the decider of placements hears (events) and says (decisions). See :mod:`pliant.membership.slots_state`."""

from __future__ import annotations

from dataclasses import dataclass

from pliant.ids import ServerId
from pliant.wire.server_messages import SlotPlace

# ------------------------------------------------------------------ events


@dataclass(frozen=True)
class ServerReadied:
    """A server listens, and can hold slots."""

    server: ServerId


@dataclass(frozen=True)
class ServerGone:
    """The process of a server is gone, or counts as gone."""

    server: ServerId


@dataclass(frozen=True)
class ServerAskedToLeave:
    """A server wants others to hold its slots (SIGTERM, spot notice)."""

    server: ServerId


@dataclass(frozen=True)
class SlotsReceived:
    """A server has all of these slots, sent to it as placement ``version`` has it."""

    server: ServerId
    version: int
    slots: tuple[int, ...]


@dataclass(frozen=True)
class SlotsRefused:
    """A server has no room for these slots, sent to it as placement ``version`` has it."""

    server: ServerId
    version: int
    slots: tuple[int, ...]


@dataclass(frozen=True)
class WantedChanged:
    """Another number of servers is wanted."""

    servers: int


@dataclass(frozen=True)
class CopiesChanged:
    """Another number of servers is to hold each slot."""

    copies: int


@dataclass(frozen=True)
class JobBegun:
    """Workers hold the job's state: what servers hold cannot be made anew from now on."""


@dataclass(frozen=True)
class StateLost:
    """Workers and servers are to begin again: nobody is to use what these servers hold."""


@dataclass(frozen=True)
class StateFound:
    """There is something to begin again from."""


SlotsEvent = (
    ServerReadied
    | ServerGone
    | ServerAskedToLeave
    | SlotsReceived
    | SlotsRefused
    | WantedChanged
    | CopiesChanged
    | JobBegun
    | StateLost
    | StateFound
)

# ------------------------------------------------------------------ decisions


@dataclass(frozen=True)
class StartServer:
    """Start a server process with this id, which was never used before."""

    server: ServerId


@dataclass(frozen=True)
class RetireServer:
    """It holds nothing that anybody needs: have it exit."""

    server: ServerId
    reason: str


@dataclass(frozen=True)
class PlacementDecided:
    """From now on this one holds. ``moved``: slots that somebody begins to be sent with it, for each one once."""

    version: int
    places: tuple[SlotPlace, ...]
    moved: int = 0


@dataclass(frozen=True)
class SlotsLost:
    """Nobody is left who holds these: the job has to begin again. Its servers are retired with the same word."""

    slots: tuple[int, ...]
    servers: tuple[ServerId, ...]
    """Who held them last."""


@dataclass(frozen=True)
class GiveUp:
    """No server will come any more, and the job cannot do without."""

    reason: str


SlotsDecision = StartServer | RetireServer | PlacementDecided | SlotsLost | GiveUp
