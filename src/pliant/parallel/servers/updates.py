"""A server's part in updates: the optimizer is applied once, on every holder of a slot, and workers get the result."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.errors import MemoryLimitError
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.applying import Applying, Order
from pliant.parallel.servers.frames import FrameReader
from pliant.parallel.servers.holdings import Holdings, flats_as_frames
from pliant.parallel.servers.replica_state import Verdicts


class Updates:
    """Updates of the slots that one server holds."""

    def __init__(self, holdings: Holdings, applying: Applying) -> None:
        self._holdings, self._applying = holdings, applying
        self._ordered: Order | None = None
        self._asked: dict[str, tuple[int, set[int], bool]] = {}
        """By worker: update, slots of it that it has not been sent, and whether it wants no parameters."""

    def forget(self) -> None:
        """The job has begun again."""
        self._ordered, self._asked = None, {}

    # ------------------------------------------------------------ from workers

    def update(self, worker: str, letter: le.Update, frames: Sequence[memoryview]) -> None:
        """A worker wants an update, and its result."""
        if self._holdings.full is not None:
            self._holdings.mail.answer(worker, le.Trouble(error=self._holdings.full))
            return
        reader = FrameReader(frames)
        order = self._applying.read_order(letter, reader)
        self._asked[worker] = (letter.number, set(le.slots_in(letter.wanted)), not letter.optimizer)
        ordered = self._ordered
        if ordered is None or ordered.letter.number < letter.number:
            ordered = self._ordered = order
        if ordered.letter.number == letter.number:
            for slot in le.slots_in(letter.runs):
                flats = self._holdings.read_slot(reader, slot)
                if slot in self._holdings.state.slots:
                    ordered.changed.setdefault(slot, flats)
            self._do(ordered)

    def _do(self, ordered: Order) -> None:
        """Do it on the slots where all that it needs is here."""
        state, letter = self._holdings.state, ordered.letter
        now = [
            slot
            for slot in state.primary_of()
            if state.slots[slot].number == letter.number - 1
            and state.slots[slot].pass_number == letter.pass_number
            and (not letter.changed or slot in ordered.changed)
        ]
        if not now:
            return
        for server, slots in self._holdings.by_followers(now).items():
            follow = le.Follow(state.version, letter, le.runs_of(slots))
            frames = ordered.frames(slots, copied=self._holdings.uncounted(server, slots))
            self._holdings.mail.command(server, follow, frames)
        for slot in now:
            state.update_ordered(slot, letter.number)
        self._apply(ordered, now)

    # ------------------------------------------------------------ between servers

    def follow(self, sender: str, letter: le.Follow, frames: Sequence[memoryview]) -> None:
        """As a copy: the primary does an update.

        No limit of memory refuses it, or this copy would differ from its primary. That takes little: rows are spread
        evenly, so when it is beyond its limit, its own slots get no more rows, which ends the job.

        Raises:
            MemoryLimitError: The system has no memory; this server can go on no more.
        """
        state, update = self._holdings.state, letter.update
        reader = FrameReader(frames)
        order = self._applying.read_order(update, reader)
        pass_number = None if update.lease >= 0 else update.pass_number
        verdicts = Verdicts()
        for slot in le.slots_in(letter.runs):
            self._applying.read_follow(order, slot, reader)
            verdicts.add(slot, state.on_update(sender, slot, number=update.number, pass_number=pass_number))
        if verdicts.got:  # received is as good as done: the primary need not wait for the arithmetic
            self._holdings.mail.answer(sender, le.GotUpdate(update.number, le.runs_of(verdicts.got)))
        if verdicts.behind:
            self._holdings.mail.answer(sender, le.Behind(verdicts.behind))
        if verdicts.take:
            for slot in verdicts.take:
                state.slots[slot].number = update.number
            with self._holdings.rows.unlimited():
                self._applying.apply(order, verdicts.take)

    def moved(self, to_check: Sequence[tuple[int, str]]) -> None:
        """Of slots that this server is primary of now, ask the other holders what they have."""
        state, wanted = self._holdings.state, dict[tuple[str, int], list[int]]()
        for slot, server in to_check:
            wanted.setdefault((server, state.slots[slot].number), []).append(slot)
        for (server, number), slots in wanted.items():
            self._holdings.mail.command(server, le.Check(state.version, number, le.runs_of(slots)))

    def check(self, sender: str, letter: le.Check) -> None:
        """As a copy: a new primary asks."""
        verdicts = Verdicts()
        for slot in le.slots_in(letter.runs):
            verdicts.add(slot, self._holdings.state.on_check(sender, slot, letter.number))
        if verdicts.got:
            self._holdings.mail.answer(sender, le.GotUpdate(letter.number, le.runs_of(verdicts.got)))
        if verdicts.behind:
            self._holdings.mail.answer(sender, le.Behind(verdicts.behind))

    # ------------------------------------------------------------ what has become ready

    def flush(self) -> None:
        """Send workers the parameters that they may see."""
        if self._ordered is not None:
            self._do(self._ordered)
        state = self._holdings.state
        for worker, (number, wanted, quiet) in list(self._asked.items()):
            ready = [slot for slot in sorted(wanted) if state.shown(slot, number)]
            if not ready:
                continue
            if quiet:
                self._holdings.mail.answer(worker, le.Done(number, le.runs_of(ready)))
            else:
                for part in self._holdings.in_parts(ready):
                    frames = flats_as_frames(flat for slot in part for flat in self._holdings.store.params(slot))
                    self._holdings.mail.answer(worker, le.Fresh(number, le.runs_of(part)), frames)
            wanted.difference_update(ready)
            if not wanted:
                del self._asked[worker]

    def _apply(self, order: Order, slots: Sequence[int]) -> None:
        try:
            self._applying.apply(order, slots)
        except MemoryLimitError as error:
            self._holdings.no_room(error)
            for worker in self._asked:
                self._holdings.mail.answer(worker, le.Trouble(error=str(self._holdings.full)))
            self._asked = {}
