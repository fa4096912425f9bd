"""One server's part in keeping its slots on several servers: what it holds, whom it tells, and whose word it awaits.

Rules (docs/design/0007)
------------------------
1. Only a slot's primary orders what happens to it; the copies do the same in the same order.
2. The primary shows nobody what follows from a command before every *counted* copy has it. Counted are all that the
   placement calls holders, and those of which it may be told soon: a copy that is being filled is counted
   from the moment at which it may say so to the coordinator.
3. A copy that lacks what comes before a command says so (``behind``) and is sent the whole slot.
4. A command of somebody who is not the slot's primary, as far as one knows, is ignored.
5. Everything may come twice.
6. A new primary does not know whether the other holders have all that it has: it asks (``on_check``), and shows
   nothing before they have. Where updates are numbered by each primary itself (*leased*), the same number may be
   another update: a copy takes a new primary's word only after a snapshot of it.

Pure: no tensors, no sockets. ``number`` counts updates, ``pass_number`` names the mean gradient that is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pliant.wire.server_messages import SlotPlace

BLANK = -1
Role = Literal["primary", "copy", "filling"]
Verdict = Literal["take", "known", "behind", "ignore"]


@dataclass
class SlotRecord:
    """A slot that this server holds, or is to hold."""

    role: Role
    primary: str = ""
    holders: frozenset[str] = frozenset()
    filling: frozenset[str] = frozenset()
    """As the placement says."""
    number: int = BLANK
    """Newest update that was done here; BLANK: there is no state yet."""
    pass_number: int = BLANK
    """The pass whose mean gradient is here."""
    following: set[str] = field(default_factory=set)
    """Copies that are sent every command."""
    counted: set[str] = field(default_factory=set)
    """Those of them whose word is awaited."""
    mean_awaits: set[str] = field(default_factory=set)
    update_awaits: set[str] = field(default_factory=set)
    snapshots: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Sent and not acknowledged: (number, pass_number) in them, of the newest one."""
    aligned: bool = True
    """As a copy: what is here came from the present primary, or before it."""


@dataclass
class Verdicts:
    """What a copy does with a command that concerns several slots."""

    take: list[int] = field(default_factory=list)
    got: list[int] = field(default_factory=list)
    """To be acknowledged: taken now, or before."""
    behind: list[int] = field(default_factory=list)

    def add(self, slot: int, verdict: Verdict) -> None:
        """Note one slot's."""
        if verdict == "take":
            self.take.append(slot)
        if verdict in ("take", "known"):
            self.got.append(slot)
        elif verdict == "behind":
            self.behind.append(slot)


@dataclass
class Moved:
    """What a new placement means for this server."""

    dropped: list[int] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    """Now primary, and was not."""
    to_fill: list[tuple[int, str]] = field(default_factory=list)
    """(slot, server): send a snapshot."""
    to_check: list[tuple[int, str]] = field(default_factory=list)
    """(slot, server): ask whether it has the newest update."""
    counted: list[tuple[int, str]] = field(default_factory=list)
    """(slot, server): is being filled, and was counted before. After placements that were missed here it has to be told
    again: the coordinator may have had it begin anew.
    """


class ReplicaState:
    """What one server knows of its slots."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.version = 0
        self.leased = False
        """Primaries number updates themselves, in the order in which pushes come."""
        self.slots: dict[int, SlotRecord] = {}

    # ------------------------------------------------------------ placements

    def place(self, version: int, places: Sequence[SlotPlace]) -> Moved:
        """A placement; one that is not newer changes nothing."""
        moved = Moved()
        if version <= self.version:
            return moved
        missed = version > self.version + 1
        self.version = version
        for slot, place in enumerate(places):
            self._place(slot, place, moved)
            if missed and slot in self.slots and self.slots[slot].role != "primary":
                self.slots[slot].aligned = False
        if not missed:
            moved.counted.clear()
        return moved

    def _place(self, slot: int, place: SlotPlace, moved: Moved) -> None:
        role: Role | None = None
        if self.server in place.holders:
            role = "primary" if place.holders[0] == self.server else "copy"
        elif self.server in place.filling:
            role = "filling"
        record = self.slots.get(slot)
        if role is None:
            if record is not None:
                del self.slots[slot]
                moved.dropped.append(slot)
            return
        if record is None:
            record = self.slots[slot] = SlotRecord(role)
        before, record.role = record.role, role
        primary = place.holders[0] if place.holders else ""
        record.aligned = record.aligned and record.primary in ("", primary)
        record.primary = primary
        record.holders, record.filling = frozenset(place.holders), frozenset(place.filling)
        if role != "primary":
            for known in (record.following, record.counted, record.mean_awaits, record.update_awaits, record.snapshots):
                known.clear()
            return
        copies, filling = set(place.holders[1:]), set(place.filling)
        if before != "primary":
            moved.promoted.append(slot)
            record.aligned = True
            record.mean_awaits = set(copies) if record.pass_number != BLANK else set()
            record.update_awaits = set(copies) if record.number != BLANK else set()
            moved.to_check += [(slot, server) for server in sorted(record.update_awaits)]
        record.following = (record.following & filling) | copies
        record.counted = (record.counted & filling) | copies
        record.mean_awaits &= record.counted
        record.update_awaits &= record.counted
        record.snapshots = {server: at for server, at in record.snapshots.items() if server in copies | filling}
        if record.number != BLANK:
            wanting = sorted(filling - record.following)
            moved.to_fill += [(slot, server) for server in wanting]
            moved.counted += [(slot, server) for server in sorted(filling & record.counted)]

    # ------------------------------------------------------------ as a primary

    def primary_of(self) -> list[int]:
        """Slots in order."""
        return [slot for slot, record in sorted(self.slots.items()) if record.role == "primary"]

    def is_primary(self, slot: int) -> bool:
        """Of this slot, and it has begun."""
        record = self.slots.get(slot)
        return record is not None and record.role == "primary" and record.number != BLANK

    def is_blank(self, slot: int) -> bool:
        """Primary of it, and it has no state yet."""
        record = self.slots.get(slot)
        return record is not None and record.role == "primary" and record.number == BLANK

    def begun(self, slot: int, *, number: int) -> None:
        """A slot that was blank has its first state, shown once the copies have it, too: nobody gives it again."""
        self.update_ordered(slot, number)

    def snapshot_sent(self, slot: int, server: str) -> None:
        """From here on ``server`` is sent every command as well."""
        record = self.slots[slot]
        record.snapshots[server] = (record.number, record.pass_number)
        record.following.add(server)

    def wants(self, slot: int, server: str) -> bool:
        """``server`` is to have a copy of a slot that this server is primary of."""
        record = self.slots[slot] if self.is_primary(slot) else None
        return record is not None and server in record.holders | record.filling

    def in_flight(self, server: str) -> int:
        """Snapshots that ``server`` was sent and has not acknowledged."""
        return sum(server in record.snapshots for record in self.slots.values())

    def got_slots(self, server: str, slots: Iterable[int], *, number: int, pass_number: int) -> list[int]:
        """``server`` has a snapshot of these slots. Returns those where it is being filled, and is counted from now on.

        ``number``, ``pass_number``: of the snapshot. The answer to one that another has followed changes nothing.
        """
        fresh = []
        for slot in slots:
            record = self.slots.get(slot)
            if record is None or record.role != "primary":
                continue
            at = record.snapshots.get(server)
            if at != (number, pass_number):
                continue
            del record.snapshots[server]
            if server not in record.following:
                continue
            if number >= record.number:
                record.update_awaits.discard(server)
            if pass_number >= record.pass_number:
                record.mean_awaits.discard(server)
            if server not in record.holders:
                record.counted.add(server)
                fresh.append(slot)
        return fresh

    def mean_known(self, slot: int, pass_number: int) -> None:
        """This primary has added up the mean gradient of a pass; it is being sent to ``following``."""
        record = self.slots[slot]
        record.pass_number = pass_number
        record.mean_awaits = set(record.counted)

    def got_mean(self, server: str, pass_number: int, slots: Iterable[int]) -> None:
        """A copy has it."""
        for slot in slots:
            record = self.slots.get(slot)
            if record is not None and record.pass_number == pass_number:
                record.mean_awaits.discard(server)

    def complete(self, slot: int, pass_number: int) -> bool:
        """Workers may be told that the mean of this pass is known."""
        record = self.slots[slot] if self.is_primary(slot) else None
        return record is not None and record.pass_number == pass_number and not record.mean_awaits

    def update_ordered(self, slot: int, number: int) -> None:
        """This primary does an update; it is being sent to ``following``."""
        record = self.slots[slot]
        record.number = number
        record.update_awaits = set(record.counted)

    def got_update(self, server: str, number: int, slots: Iterable[int]) -> None:
        """A copy has it."""
        for slot in slots:
            record = self.slots.get(slot)
            if record is not None and record.number == number:
                record.update_awaits.discard(server)

    def shown(self, slot: int, number: int) -> bool:
        """Workers may see the parameters after this update."""
        record = self.slots.get(slot)
        return record is not None and record.role == "primary" and record.number >= number and not record.update_awaits

    def lost_letters(self, server: str) -> list[int]:
        """Letters to ``server`` may not have arrived: it has to be sent these slots anew."""
        for record in self.slots.values():
            record.snapshots.pop(server, None)
        return [
            slot
            for slot, record in sorted(self.slots.items())
            if record.role == "primary" and server in record.following and record.number != BLANK
        ]

    # ------------------------------------------------------------ as a copy

    def on_mean(self, sender: str, slot: int, pass_number: int) -> Verdict:
        """A primary sends the mean of a pass."""
        record = self._copied_from(sender, slot)
        if record is None:
            return "ignore"
        if record.number == BLANK:
            return "behind"
        return "known" if record.pass_number >= pass_number else "take"

    def on_update(self, sender: str, slot: int, *, number: int, pass_number: int | None) -> Verdict:
        """A primary orders an update on the mean of a pass; None: its gradients come along with it."""
        self.leased = self.leased or pass_number is None
        record = self._copied_from(sender, slot)
        if record is None:
            return "ignore"
        if self.leased and not record.aligned:
            return "behind"
        if record.number >= number:
            return "known"
        if record.number != number - 1 or pass_number not in (None, record.pass_number):
            return "behind"
        return "take"

    def on_check(self, sender: str, slot: int, number: int) -> Verdict:
        """A primary that is new asks whether this copy has that update."""
        record = self._copied_from(sender, slot)
        if record is None:
            return "ignore"
        return "behind" if record.number < number or (self.leased and not record.aligned) else "known"

    def on_snapshot(self, sender: str, slot: int, *, number: int, pass_number: int) -> Verdict:
        """A primary sends all of a slot."""
        record = self._copied_from(sender, slot)
        if record is None:
            return "ignore"
        if self.leased and not record.aligned:
            return "take"
        return "take" if (number, pass_number) > (record.number, record.pass_number) else "known"

    def is_newcomer(self, slot: int) -> bool:
        """It is to be filled for the first time: nobody waits for this server's word on it."""
        record = self.slots[slot]
        return record.role == "filling" and record.number == BLANK

    def _copied_from(self, sender: str, slot: int) -> SlotRecord | None:
        """The slot, if this server has it as a copy of ``sender``'s."""
        record = self.slots.get(slot)
        if record is None or record.role == "primary" or record.primary != sender:
            return None
        return record

    def filled(self, slot: int, *, number: int, pass_number: int) -> None:
        """A snapshot is in place."""
        record = self.slots[slot]
        record.number, record.pass_number, record.aligned = number, pass_number, True
