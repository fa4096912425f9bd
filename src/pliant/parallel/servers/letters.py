"""What workers and parameter servers write to each other: the headers of letters, beside the tensors.

A letter is a header and frames of raw bytes. Slots are named in *runs* ``[first, stop)``. Where frames hold "the
slots", that is one frame for each slot and each bucket that it lies in, in order. ``version`` is that of the placement
(:class:`pliant.wire.server_messages.PlaceSlots`) by which the sender goes. Every letter may come twice, and late
(docs/design/0007). ``era`` is the generation in which the job began, or began again from a checkpoint: workers of an
earlier one may not know yet that they are to end.
"""

from __future__ import annotations

from pliant.parallel.servers.lease_letters import (
    AskLease,
    Current,
    Fetch,
    GiveLease,
    GotLedger,
    Keep,
    KeepToo,
    Kept,
    Ledger,
    Push,
    Read,
)
from pliant.parallel.servers.letter import Letter, Run, runs_of, slots_in

__all__ = [
    "AskLease",
    "Current",
    "Fetch",
    "GiveLease",
    "GotLedger",
    "Keep",
    "KeepToo",
    "Kept",
    "Ledger",
    "Letter",
    "Push",
    "Read",
    "Run",
    "runs_of",
    "slots_in",
]


# ---------------------------------------------------------------- worker -> server


class Hail(Letter, frozen=True):
    """First letter of a worker in a pass: what it is going to send. Frames: none."""

    version: int
    generation: int
    pass_number: int
    rank: int
    size: int
    """Of the generation."""
    shards: int
    layout: str
    """Fingerprint of the flat buckets."""
    held: list[int]
    scales: list[float]
    tables: list[str] = []  # noqa: RUF012 - msgspec copies it
    """That the sender has, in order: of each it sends a :class:`RowPart`."""
    era: int = 0


class Part(Letter, frozen=True):
    """Partial sums of one bucket. Frames: for each node of the sender's, in order, one for each run: neighbours lie
    side by side.
    """

    version: int
    generation: int
    pass_number: int
    rank: int
    bucket: int
    runs: list[Run]


class RowPart(Letter, frozen=True):
    """Partial sums of one table's rows. Frames: for each node of the sender's, in order, ids and gradients of the rows
    in the slots.
    """

    version: int
    generation: int
    pass_number: int
    rank: int
    table: str
    runs: list[Run]


class Pull(Letter, frozen=True):
    """Give me rows of a table as they are after update ``number``. Frame: rising ids, all in the slots of ``runs``.

    Answered with :class:`Rows`, perhaps in several parts.
    """

    version: int
    ticket: int
    """Chosen by the worker; stands in the answer."""
    number: int
    step: int
    table: str
    runs: list[Run]
    era: int = 0


class Update(Letter, frozen=True):
    """Have optimizer ``optimizer`` apply the mean gradient of a pass, and answer with the new parameters.

    ``changed``: with the gradients in the frames instead, those of the slots of ``runs``. Other workers may send
    those of the other slots.
    """

    version: int
    number: int
    """Counted over the whole job, from 1."""
    pass_number: int
    optimizer: str
    """Empty: the tables' own, on the rows of the pass. Then the answer is :class:`Done`."""
    present: bytes
    """One bit for each parameter: it has a gradient."""
    wanted: list[Run]
    """Answer with these slots."""
    option_tensors: int = 0
    """The options of the parameter groups are in the first frames: their tree, and so many tensors."""
    changed: bool = False
    runs: list[Run] = []  # noqa: RUF012 - msgspec copies it
    era: int = 0
    lease: int = -1
    """Among servers: of a :class:`Push`. The gradients are in the frames, and ``pass_number`` is the lease's step."""
    part: int = 0
    floor: int = 0


class LookAt(Letter, frozen=True):
    """What is the mean gradient of this pass? Answered with :class:`Gradient`."""

    version: int
    pass_number: int
    runs: list[Run]
    era: int = 0


class Begin(Letter, frozen=True):
    """The state that a slot begins with; answers :class:`Blank`. Frames: the state's tree, and its tensors."""

    version: int
    slot: int
    number: int
    era: int = 0


class Dump(Letter, frozen=True):
    """Give me the state of these slots after update ``number``. Answered with :class:`SlotDump`."""

    version: int
    number: int
    slots: list[int]
    era: int = 0


# ---------------------------------------------------------------- server -> worker


class Blank(Letter, frozen=True):
    """These slots have no state yet: send :class:`Begin`."""

    slots: list[int]


class Complete(Letter, frozen=True):
    """The mean gradient of these slots is known, to all their holders."""

    generation: int
    pass_number: int
    runs: list[Run]


class Fresh(Letter, frozen=True):
    """Parameters after update ``number``. Frames: the slots."""

    number: int
    runs: list[Run]


class Rows(Letter, frozen=True):
    """Rows of those ids of a :class:`Pull` that are in the slots of ``runs``. Frame: the rows."""

    ticket: int
    runs: list[Run]


class Done(Letter, frozen=True):
    """An update of rows was done."""

    number: int
    runs: list[Run]


class Gradient(Letter, frozen=True):
    """The mean gradient of a pass. Frames: the slots."""

    pass_number: int
    runs: list[Run]


class SlotDump(Letter, frozen=True):
    """A slot's state after update ``number``. Frames: the state's tree, and its tensors."""

    slot: int
    number: int


class Trouble(Letter, frozen=True):
    """What a worker asked cannot be done, ever."""

    error: str


# ---------------------------------------------------------------- primary -> copy


class Mean(Letter, frozen=True):
    """The mean gradient of a pass. Frames: the slots."""

    version: int
    pass_number: int
    runs: list[Run]


class RowMean(Letter, frozen=True):
    """Mean gradients of the rows of one table; comes before the :class:`Mean` of the slots. Frames: for each slot of
    ``runs``, ids and gradients.
    """

    version: int
    pass_number: int
    table: str
    runs: list[Run]


class Follow(Letter, frozen=True):
    """Do this update on the slots of ``runs``, with the mean gradient of its pass or that in the frames. Frames as of
    an :class:`Update`.
    """

    version: int
    update: Update
    runs: list[Run]


class Check(Letter, frozen=True):
    """The sender is primary of these slots now. Is update ``number`` there? Answered with :class:`GotUpdate`, or
    :class:`Behind`.
    """

    version: int
    number: int
    runs: list[Run]


class Snapshot(Letter, frozen=True):
    """All of a slot: a filling copy begins with it. Frames: the state's tree, its tensors, then the mean gradient of
    ``pass_number`` if it is known.
    """

    version: int
    slot: int
    number: int
    pass_number: int
    state_frames: int
    """How many of the frames are the state's."""


class Counted(Letter, frozen=True):
    """To a filling copy: the primary now waits for its word, so that it is a holder. It may tell the coordinator."""

    version: int
    slots: list[int]


# ---------------------------------------------------------------- copy -> primary


class GotMean(Letter, frozen=True):
    """Answer to :class:`Mean`: it is here."""

    pass_number: int
    runs: list[Run]


class GotUpdate(Letter, frozen=True):
    """Answer to :class:`Follow`: it is here, and done or as good as done."""

    number: int
    runs: list[Run]


class GotSlots(Letter, frozen=True):
    """Answer to :class:`Snapshot`, with its numbers."""

    version: int
    slots: list[int]
    number: int
    pass_number: int


class Behind(Letter, frozen=True):
    """I lack what comes before this: send a :class:`Snapshot` of these slots."""

    slots: list[int]


AnyLetter = (
    Hail
    | Part
    | RowPart
    | Pull
    | Update
    | LookAt
    | Begin
    | Dump
    | Read
    | Push
    | AskLease
    | Keep
    | Fetch
    | Current
    | GiveLease
    | Kept
    | Blank
    | Complete
    | Fresh
    | Rows
    | Done
    | Gradient
    | SlotDump
    | Trouble
    | Mean
    | RowMean
    | Follow
    | Check
    | Snapshot
    | Counted
    | Ledger
    | KeepToo
    | GotLedger
    | GotMean
    | GotUpdate
    | GotSlots
    | Behind
)

OfAnEra = Hail | Pull | Update | LookAt | Begin | Dump | Read | Push | AskLease | Keep | Fetch | Ledger | KeepToo
OF_AN_ERA = (Hail, Pull, Update, LookAt, Begin, Dump, Read, Push, AskLease, Keep, Fetch, Ledger, KeepToo)
MAY_LOOK = (Pull, Read, Fetch)
"""Also of workers that are not in the job yet: they have no era."""
