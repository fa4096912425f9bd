"""How a slot's state comes to a server: from a worker when the job begins, else from the slot's primary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from pliant.errors import MemoryLimitError, ProtocolError
from pliant.parallel.leases.applied import AppliedLeases
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import Frame, FrameReader, frames_of, value_of
from pliant.parallel.servers.holdings import Holdings, flats_as_frames
from pliant.parallel.servers.replica_state import BLANK
from pliant.parallel.servers.slot_state import SlotState
from pliant.wire.server_messages import SlotsFilled, SlotsRefused

MOST_IN_FLIGHT = 2
"""Snapshots that one server has not acknowledged."""


class Filling:
    """Snapshots of the slots that one server holds, or is to hold.

    Args:
        report: tells the coordinator what has become of slots that were sent here.
    """

    def __init__(self, holdings: Holdings, report: Callable[[SlotsFilled | SlotsRefused], None]) -> None:
        self._holdings, self._report = holdings, report
        self._queue: list[tuple[int, str]] = []
        self._received: dict[int, int] = {}
        """Bytes of the snapshot of each slot that the coordinator does not know to be here."""

    @property
    def busy(self) -> bool:
        """There is a snapshot to be sent."""
        return self._next() is not None

    def fill(self, wanted: Sequence[tuple[int, str]]) -> None:
        """Send these (slot, server) their snapshots, one with each ``flush``."""
        self._queue += [each for each in wanted if each not in self._queue]

    def tell_counted(self, again: Sequence[tuple[int, str]]) -> None:
        """Tell these (slot, server) again that they are counted, by a new placement."""
        by_server: dict[str, list[int]] = {}
        for slot, server in again:
            by_server.setdefault(server, []).append(slot)
        for server, slots in by_server.items():
            self._holdings.mail.command(server, le.Counted(self._holdings.state.version, slots))

    # ------------------------------------------------------------ from workers

    def begin(self, worker: str, letter: le.Begin, *, frames: Sequence[memoryview], copies: Sequence[str]) -> None:
        """The first state of a slot; ``copies``: its other holders, and who is being filled."""
        state = self._holdings.state
        record = state.slots.get(letter.slot)
        if record is None or record.role != "primary" or record.number != BLANK:
            return
        try:
            self._install(letter.slot, frames)
        except MemoryLimitError as error:
            self._holdings.no_room(error)
            self._holdings.mail.answer(worker, le.Trouble(error=str(self._holdings.full)))
            return
        state.begun(letter.slot, number=letter.number)
        self.fill([(letter.slot, server) for server in copies])
        self._holdings.begun_by(worker)

    def dump(self, worker: str, letter: le.Dump) -> None:
        """A worker wants the state, for a checkpoint."""
        for slot in letter.slots:
            if self._holdings.state.shown(slot, letter.number):
                frames = self._slot_frames(slot)
                self._holdings.mail.answer(worker, le.SlotDump(slot, self._holdings.state.slots[slot].number), frames)

    # ------------------------------------------------------------ between servers

    def snapshot(self, sender: str, letter: le.Snapshot, frames: Sequence[memoryview]) -> None:
        """As a copy: all of a slot. A newcomer may refuse it; for one that has had it, see ``Updates.follow``.

        Raises:
            MemoryLimitError: The system has no memory for what this copy has to have.
        """
        holdings = self._holdings
        verdict = holdings.state.on_snapshot(sender, letter.slot, number=letter.number, pass_number=letter.pass_number)
        if verdict == "take":
            try:
                with nullcontext() if holdings.state.is_newcomer(letter.slot) else holdings.rows.unlimited():
                    self._install_snapshot(letter, FrameReader(frames))
            except MemoryLimitError as error:
                if not holdings.state.is_newcomer(letter.slot):
                    raise
                holdings.forget(letter.slot)
                self._report(SlotsRefused(letter.version, [letter.slot], str(error)))
                return
            self._received[letter.slot] = sum(frame.nbytes for frame in frames)
        if verdict != "ignore":
            answer = le.GotSlots(letter.version, [letter.slot], letter.number, letter.pass_number)
            holdings.mail.answer(sender, answer)

    def _install_snapshot(self, letter: le.Snapshot, reader: FrameReader) -> None:
        holdings = self._holdings
        self._install(letter.slot, reader.take(letter.state_frames))
        if letter.pass_number != BLANK:
            for mine, theirs in zip(
                holdings.gradient(letter.slot), holdings.read_slot(reader, letter.slot), strict=True
            ):
                mine.copy_(theirs)
        holdings.state.filled(letter.slot, number=letter.number, pass_number=letter.pass_number)

    def got_slots(self, sender: str, letter: le.GotSlots) -> None:
        """As a primary: a copy has its snapshot."""
        counted = self._holdings.state.got_slots(
            sender, letter.slots, number=letter.number, pass_number=letter.pass_number
        )
        if counted:
            self._holdings.mail.command(sender, le.Counted(self._holdings.state.version, counted))

    def counted(self, sender: str, letter: le.Counted) -> None:
        """As a filling copy: the coordinator may be told."""
        slots = self._holdings.state.slots
        here = [slot for slot in letter.slots if slot in slots]
        blank = [slot for slot in here if slots[slot].number == BLANK]
        if blank:  # it was given up here meanwhile, of which the primary does not know
            self._holdings.mail.answer(sender, le.Behind(blank))
        filled = [slot for slot in here if slot not in blank]
        if filled:
            size_bytes = sum(self._received.pop(slot, 0) for slot in filled)
            self._report(SlotsFilled(letter.version, filled, size_bytes))

    # ------------------------------------------------------------ what has become ready

    def flush(self) -> None:
        """Send one snapshot."""
        at = self._next()
        if at is not None:
            self._send(*self._queue.pop(at))

    def _next(self) -> int | None:
        """Which of the queue can be sent. Few are under way at a time: a copy's word on training waits behind them."""
        state = self._holdings.state
        self._queue = [each for each in self._queue if state.wants(*each)]
        servers = {server for _, server in self._queue}
        ready = {server: state.in_flight(server) < MOST_IN_FLIGHT for server in servers}
        return next((at for at, (_, server) in enumerate(self._queue) if ready[server]), None)

    def _send(self, slot: int, server: str) -> None:
        holdings = self._holdings
        record = holdings.state.slots[slot]
        frames = self._slot_frames(slot)
        count = len(frames)
        if record.pass_number != BLANK:
            frames += flats_as_frames(holdings.gradient(slot), copied=True)
        letter = le.Snapshot(
            version=holdings.state.version,
            slot=slot,
            number=record.number,
            pass_number=record.pass_number,
            state_frames=count,
        )
        holdings.state.snapshot_sent(slot, server)
        holdings.mail.command(server, letter, frames)

    def _slot_frames(self, slot: int) -> list[Frame]:
        """The slot's state, copied: the next update may come before the letter has left."""
        value = {
            "dense": self._holdings.store.snapshot(slot).plain(),
            "tables": self._holdings.rows.snapshot(slot),
            "leases": self._holdings.leases_of(slot).plain(),
        }
        return [bytes(frame) for frame in frames_of(value)[0]]

    def _install(self, slot: int, frames: Sequence[memoryview]) -> None:
        value: Any = value_of(frames)
        if not isinstance(value, dict) or value.keys() != {"dense", "tables", "leases"}:
            raise ProtocolError(f"what came as the state of slot {slot} is none")
        self._holdings.store.install(slot, SlotState.from_plain(value["dense"]))
        self._holdings.rows.install(slot, value["tables"])
        leases = AppliedLeases.from_plain(value["leases"])
        self._holdings.take_leases(slot, leases)
        self._holdings.state.leased = self._holdings.state.leased or bool(len(leases) or leases.floor)
