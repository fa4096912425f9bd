"""What a worker that waits for no other asks of the servers: see :mod:`pliant.parallel.servers.client_work`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

import msgspec
import torch

from pliant.parallel.layout import as_bytes
from pliant.parallel.leases.ledger import Asked, Given
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.client_work import Say, into
from pliant.parallel.servers.frames import Frame, FrameReader
from pliant.parallel.servers.lease_letters import LEDGER_SLOT
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.row_frames import in_slots, row_frames
from pliant.parallel.servers.targets import Target
from pliant.parallel.tables.merge import RowGrads
from pliant.wire.server_messages import SLOTS

_tickets = count()


def _all_slots() -> set[int]:
    return set(range(SLOTS))


def _note(numbers: dict[int, int], pending: set[int], letter: le.Current) -> None:
    for slot, number in zip(le.slots_in(letter.runs), letter.numbers, strict=True):
        if slot in pending:
            numbers[slot] = number


@dataclass
class ReadWork:
    """Parameters as they are now go to ``target``."""

    ranges: SlotRanges
    target: Target
    numbers: dict[int, int] = field(default_factory=dict)
    """Updates of each slot that came."""
    pending: set[int] = field(default_factory=_all_slots)
    ticket: int = field(default_factory=lambda: next(_tickets))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        say(le.Read(version, self.ticket, le.runs_of(slots)), ())

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        if not isinstance(letter, le.Current) or letter.ticket != self.ticket:
            return False
        slots = le.slots_in(letter.runs)
        _note(self.numbers, self.pending, letter)
        into(self.target, slots, reader, self.pending)
        return True


@dataclass(frozen=True)
class PushName:
    """Which push this is.

    Attributes:
        lease: counted over the whole job.
        part: pushes of this lease before it.
        floor: all leases below are done.
        step: of the lease.
    """

    lease: int
    part: int
    floor: int
    step: int

    def letter(self, slots: list[int], *, version: int, ticket: int) -> le.Push:
        """The header of its push to these slots, as one of rows."""
        return le.Push(
            version=version,
            ticket=ticket,
            lease=self.lease,
            part=self.part,
            floor=self.floor,
            step=self.step,
            optimizer="",
            present=b"",
            runs=le.runs_of(slots),
        )


@dataclass
class PushWork(ReadWork):
    """The gradients of a lease, for one optimizer; the parameters that follow go to ``target``."""

    name: PushName = PushName(0, 0, 0, 0)
    optimizer: str = ""
    present: bytes = b""
    option_frames: list[Frame] = field(default_factory=list)
    gradients: list[torch.Tensor] = field(default_factory=list)
    """Flat buckets."""

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        gradients = [as_bytes(part) for slot in slots for part in self.ranges.cut(slot, self.gradients)]
        letter = msgspec.structs.replace(
            self.name.letter(slots, version=version, ticket=self.ticket),
            optimizer=self.optimizer,
            present=self.present,
            option_tensors=len(self.option_frames) - 1,
        )
        say(letter, [*self.option_frames, *gradients])


@dataclass
class RowPushWork:
    """The gradients of a lease for rows of tables."""

    name: PushName
    rows: Mapping[str, RowGrads]
    """By table, all tables in order."""
    pending: set[int] = field(default_factory=_all_slots)
    numbers: dict[int, int] = field(default_factory=dict)
    ticket: int = field(default_factory=lambda: next(_tickets))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        frames: list[Frame] = []
        for rows in self.rows.values():
            inside = in_slots(rows.ids, slots)
            frames += row_frames(RowGrads(rows.ids[inside], rows.grads[inside]))
        say(self.name.letter(slots, version=version, ticket=self.ticket), frames)

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        if not isinstance(letter, le.Current) or letter.ticket != self.ticket:
            return False
        _note(self.numbers, self.pending, letter)
        self.pending.difference_update(le.slots_in(letter.runs))
        return True


@dataclass
class AskWork:
    """What is to be done next?"""

    asked: Callable[[], Asked]
    """What is to be said now: while it waits for an answer, the worker may hear of a new generation."""
    given: Given = field(default_factory=lambda: Given("passed"))
    pending: set[int] = field(default_factory=lambda: {LEDGER_SLOT})
    ticket: int = field(default_factory=lambda: next(_tickets))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        say(le.AskLease(version, self.ticket, self.asked()), ())

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        if not isinstance(letter, le.GiveLease) or letter.ticket != self.ticket:
            return False
        self.given = letter.given
        self.pending.clear()
        return True


@dataclass
class KeepWork:
    """What this worker holds is to be kept for newcomers; the job is at ``step`` of the script's call ``call``."""

    call: int
    step: int
    end: bool
    frames: list[Frame]
    pending: set[int] = field(default_factory=lambda: {LEDGER_SLOT})
    ticket: int = field(default_factory=lambda: next(_tickets))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        say(le.Keep(version, self.ticket, self.call, self.step, self.end), self.frames)

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        if not isinstance(letter, le.Kept) or letter.ticket != self.ticket:
            return False
        self.pending.clear()
        return True


@dataclass
class FetchWork:
    """What the main worker gave to be kept, at ``step`` of the script's call ``call`` or later; no frames: nothing."""

    call: int
    step: int = 0
    end: bool = False
    frames: list[memoryview] = field(default_factory=list)
    pending: set[int] = field(default_factory=lambda: {LEDGER_SLOT})
    ticket: int = field(default_factory=lambda: next(_tickets))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        say(le.Fetch(version, self.ticket, self.call, self.step, self.end), ())

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`pliant.parallel.servers.client_work.Work`."""
        if not isinstance(letter, le.Kept) or letter.ticket != self.ticket:
            return False
        self.frames = list(reader.rest())
        self.pending.clear()
        return True
