"""What is written where workers do not wait for each other: leases, pushes, and what is kept for newcomers.

See :mod:`pliant.parallel.servers.letters`.
"""

from __future__ import annotations

from pliant.parallel.leases.ledger import Asked, Given, LedgerState
from pliant.parallel.servers.letter import Letter, Run

LEDGER_SLOT = 0
"""Who is primary of it keeps the ledger of leases."""

# ---------------------------------------------------------------- worker -> server


class Read(Letter, frozen=True):
    """Parameters as they are now. Answered with :class:`Current`, perhaps in several parts."""

    version: int
    ticket: int
    runs: list[Run]
    era: int = 0


class Push(Letter, frozen=True):
    """Have optimizer ``optimizer`` apply this gradient of a lease, unless that was done. Answered with
    :class:`Current`. Frames: options as of an :class:`Update`; the slots' gradients, or for the tables' own optimizers
    (``optimizer`` is empty) of each table ids and gradients of its rows in the slots.
    """

    version: int
    ticket: int
    lease: int
    """Counted over the whole job."""
    part: int
    """Pushes of this lease before it: there is one for each optimizer that is stepped."""
    floor: int
    """All leases below are done."""
    step: int
    """Of the lease."""
    optimizer: str
    present: bytes
    runs: list[Run]
    option_tensors: int = 0
    era: int = 0


class AskLease(Letter, frozen=True):
    """What is to be done next? To the primary of :data:`LEDGER_SLOT`; answered with :class:`GiveLease`."""

    version: int
    ticket: int
    asked: Asked
    era: int = 0


class Keep(Letter, frozen=True):
    """All that a worker holds of the job's state, for newcomers. Answered with :class:`Kept`. Frames: the state's tree,
    and its tensors.
    """

    version: int
    ticket: int
    call: int
    """Of the script, that the sender is in."""
    step: int
    """That the job is at, counted over the whole of it."""
    end: bool
    """The call has ended."""
    era: int = 0


class Fetch(Letter, frozen=True):
    """What the main worker gave to be kept. Answered with :class:`Kept`."""

    version: int
    ticket: int
    call: int
    """At least of this call, and in it of this step."""
    step: int = 0
    end: bool = False
    """As it was when this call ended, neither before nor after."""
    era: int = 0


# ---------------------------------------------------------------- server -> worker


class Current(Letter, frozen=True):
    """Parameters as they are, the push applied if it was one. Frames: the slots; none after a push of rows."""

    ticket: int
    runs: list[Run]
    numbers: list[int]
    """Updates of each of these slots."""


class GiveLease(Letter, frozen=True):
    """Answer of the ledger."""

    ticket: int
    given: Given


class Kept(Letter, frozen=True):
    """Answer to :class:`Keep`: it is here; or to :class:`Fetch`: frames as of :class:`Keep`, or none: there is none."""

    ticket: int
    call: int


# ---------------------------------------------------------------- between the ledger's holders


class Ledger(Letter, frozen=True):
    """All that the ledger knows. Answered with :class:`GotLedger`."""

    version: int
    sequence: int
    era: int
    state: LedgerState


class KeepToo(Letter, frozen=True):
    """What a worker gave to be kept. Frames as of :class:`Keep`."""

    version: int
    call: int
    step: int
    end: bool
    era: int


class GotLedger(Letter, frozen=True):
    """Answer to :class:`Ledger`."""

    sequence: int
