"""A server's part where workers do not wait for each other: every push is an update of its own, applied once.

Unlike :mod:`~pliant.parallel.servers.updates`, each slot counts its updates by itself, in the order in which its
primary was sent them: pushes of several workers cross on their way to several servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pliant.errors import MemoryLimitError
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.applying import Applying, Order
from pliant.parallel.servers.frames import Frame, FrameReader
from pliant.parallel.servers.holdings import Holdings, flats_as_frames


@dataclass
class _Wanted:
    """What a worker has asked for and not had."""

    ticket: int
    quiet: bool
    """It wants no parameters."""
    slots: dict[int, int] = field(default_factory=dict)
    """Slot -> update after which it may be shown."""


class Pushes:
    """Pushes to, and reads of, the slots that one server holds."""

    def __init__(self, holdings: Holdings, applying: Applying) -> None:
        self._holdings, self._applying = holdings, applying
        self._wanted: dict[str, _Wanted] = {}
        """By worker: it asks for one thing at a time."""
        self._step = 0

    def forget(self) -> None:
        """The job has begun again."""
        self._wanted = {}

    # ------------------------------------------------------------ from workers

    def read(self, worker: str, letter: le.Read) -> None:
        """A worker wants parameters as they are."""
        state = self._holdings.state
        state.leased = True
        slots = [slot for slot in le.slots_in(letter.runs) if slot in state.slots]
        self._holdings.ask_to_begin(worker, slots)
        self._wanted[worker] = _Wanted(letter.ticket, quiet=False, slots=dict.fromkeys(slots, 0))

    def push(self, worker: str, letter: le.Push, frames: Sequence[memoryview]) -> None:
        """A worker has the gradients of a lease."""
        if self._holdings.full is not None:
            self._holdings.mail.answer(worker, le.Trouble(error=self._holdings.full))
            return
        state = self._holdings.state
        state.leased = True
        self._step = max(self._step, letter.step + 1)
        update = le.Update(
            version=state.version,
            number=0,
            pass_number=self._step - 1,
            optimizer=letter.optimizer,
            present=letter.present,
            wanted=[],
            option_tensors=letter.option_tensors,
            changed=True,
            lease=letter.lease,
            part=letter.part,
            floor=letter.floor,
        )
        order = self._applying.read_push(update, le.slots_in(letter.runs), FrameReader(frames))
        here = [slot for slot in le.slots_in(letter.runs) if state.is_primary(slot)]
        try:
            self._apply(order, [slot for slot in here if not self._applied(slot, letter)])
        except MemoryLimitError as error:
            self._holdings.no_room(error)
            self._holdings.mail.answer(worker, le.Trouble(error=str(self._holdings.full)))
            return
        wanted = {slot: state.slots[slot].number for slot in here}
        self._wanted[worker] = _Wanted(letter.ticket, quiet=not letter.optimizer, slots=wanted)

    def _applied(self, slot: int, letter: le.Push) -> bool:
        return self._holdings.leases_of(slot).has(letter.lease, letter.part)

    def _apply(self, order: Order, slots: Sequence[int]) -> None:
        """Each slot has a number of its own; most have the same."""
        state = self._holdings.state
        by_number: dict[int, list[int]] = {}
        for slot in slots:
            by_number.setdefault(state.slots[slot].number, []).append(slot)
        for number, of_it in by_number.items():
            numbered = order.numbered(number + 1)
            for server, theirs in self._holdings.by_followers(of_it).items():
                follow = le.Follow(state.version, numbered.letter, le.runs_of(theirs))
                self._holdings.mail.command(server, follow, numbered.frames(theirs))
            for slot in of_it:
                state.update_ordered(slot, number + 1)
            self._applying.apply(numbered, of_it)

    # ------------------------------------------------------------ what has become ready

    def flush(self) -> None:
        """Answer what can be answered by now."""
        state, mail = self._holdings.state, self._holdings.mail
        for worker, wanted in list(self._wanted.items()):
            ready = [
                slot
                for slot, number in sorted(wanted.slots.items())
                if state.is_primary(slot) and state.shown(slot, number)
            ]
            if not ready:
                continue
            for part in [ready] if wanted.quiet else self._holdings.in_parts(ready):
                numbers = [state.slots[slot].number for slot in part]
                mail.answer(worker, le.Current(wanted.ticket, le.runs_of(part), numbers), self._frames(wanted, part))
            for slot in ready:
                del wanted.slots[slot]
            if not wanted.slots:
                del self._wanted[worker]

    def _frames(self, wanted: _Wanted, slots: Sequence[int]) -> list[Frame]:
        """Copied: the next push may come before the letter has left."""
        if wanted.quiet:
            return []
        return flats_as_frames((flat for slot in slots for flat in self._holdings.store.params(slot)), copied=True)
