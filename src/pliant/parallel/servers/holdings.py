"""What one server holds, shared by the parts of its work: the slots' state and gradients, and the mail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from pliant.errors import MemoryLimitError
from pliant.parallel.layout import as_bytes
from pliant.parallel.leases.applied import AppliedLeases
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.dense_store import DenseStore
from pliant.parallel.servers.frames import Frame, FrameReader
from pliant.parallel.servers.mail import Mail
from pliant.parallel.servers.replica_state import ReplicaState
from pliant.parallel.servers.row_passes import RowPasses

PART_BYTES = 4 << 20
"""Of parameters that go to a worker in one letter."""
MOST_BEGINNING = 2
"""First states of slots that one worker has been asked for and not sent."""


class Holdings:
    """One server's."""

    def __init__(self, state: ReplicaState, mail: Mail, store: DenseStore, rows: RowPasses) -> None:
        self.state, self.mail, self.store, self.rows = state, mail, store, rows
        self.layout, self.ranges = store.layout, store.ranges
        self.full: str | None = None
        """Why no update can be done here any more: rows were refused, which copies may have."""
        self._slot_bytes = [
            sum((stop - start) * self.layout.buckets[bucket].dtype.itemsize for bucket, start, stop in ranges)
            for ranges in self.ranges.slots
        ]
        """Of the parameters in each slot."""
        self._grads: dict[int, list[torch.Tensor]] = {}
        self._leases: dict[int, AppliedLeases] = {}
        self._asked: set[int] = set()
        """Slots whose first state somebody was asked for, since it was last asked for anew."""

    def gradient(self, slot: int) -> list[torch.Tensor]:
        """Memory for the slot's mean gradient: one flat tensor for each bucket that it lies in."""
        if slot not in self._grads:
            self._grads[slot] = [
                torch.zeros(stop - start, dtype=self.layout.buckets[bucket].dtype)
                for bucket, start, stop in self.ranges.slots[slot]
            ]
        return self._grads[slot]

    def leases_of(self, slot: int) -> AppliedLeases:
        """Whose pushes were applied to this slot."""
        return self._leases.setdefault(slot, AppliedLeases())

    def take_leases(self, slot: int, leases: AppliedLeases) -> None:
        """The slot's state is here, and these are in it."""
        self._leases[slot] = leases

    def ask_to_begin(self, worker: str, slots: Iterable[int]) -> None:
        """Have a worker send what those of ``slots`` begin with that have no state: a few, and then one for each that
        has come (:meth:`begun_by`).
        """
        blank = sorted(slot for slot in slots if self.state.is_blank(slot))
        if blank:
            self._asked = set(blank[:MOST_BEGINNING])
            self.mail.answer(worker, le.Blank(slots=sorted(self._asked)))

    def begun_by(self, worker: str) -> None:
        """A worker has sent what a slot begins with: it may send another one."""
        blank = [slot for slot in self.state.primary_of() if self.state.is_blank(slot) and slot not in self._asked]
        if blank:
            self._asked.add(blank[0])
            self.mail.answer(worker, le.Blank(slots=blank[:1]))

    def forget(self, slot: int) -> None:
        """This server holds the slot no longer."""
        self._grads.pop(slot, None)
        self._leases.pop(slot, None)
        self.store.drop(slot)
        self.rows.forget(slot)

    def no_room(self, error: MemoryLimitError) -> None:
        """Rows of an update were refused here. Its copies may have them, so that nothing is to follow it."""
        self.full = f"server {self.state.server}: {error}"

    def read_slot(self, reader: FrameReader, slot: int) -> list[torch.Tensor]:
        """The next frames as tensors of this slot: the letter's memory."""
        return [
            reader.tensor(self.layout.buckets[bucket].dtype, stop - start)
            for bucket, start, stop in self.ranges.slots[slot]
        ]

    def gradient_frames(self, slots: Iterable[int], *, copied: bool = False) -> list[Frame]:
        """The mean gradients of these slots. ``copied``: they may be overwritten before the letter has left."""
        return flats_as_frames((flat for slot in slots for flat in self.gradient(slot)), copied=copied)

    def in_parts(self, slots: Iterable[int]) -> Iterator[list[int]]:
        """These slots in parts of at most ``PART_BYTES`` of parameters, or of one slot: a worker that is sent one part
        after the other needs memory for few of them.
        """
        part: list[int] = []
        left = PART_BYTES
        for slot in slots:
            if part and self._slot_bytes[slot] > left:
                yield part
                part, left = [], PART_BYTES
            part.append(slot)
            left -= self._slot_bytes[slot]
        if part:
            yield part

    def by_followers(self, slots: Iterable[int]) -> dict[str, list[int]]:
        """Copies that have to be told of a command on these slots."""
        found: dict[str, list[int]] = {}
        for slot in slots:
            for server in sorted(self.state.slots[slot].following):
                found.setdefault(server, []).append(slot)
        return found

    def uncounted(self, server: str, slots: Sequence[int]) -> bool:
        """Nobody waits until ``server`` has what it is sent of these slots."""
        return any(server not in self.state.slots[slot].counted for slot in slots)


def flats_as_frames(flats: Iterable[torch.Tensor], *, copied: bool = False) -> list[Frame]:
    """1-d tensors as frames."""
    return [bytes(as_bytes(flat)) if copied else as_bytes(flat) for flat in flats]
