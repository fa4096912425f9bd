"""What a worker has asked of the servers and not had yet: a pass, an update, a look at a gradient, a dump.

Each knows which slots are still to come, what to say to a server for them, and what to do with an answer. All is said
again when a placement changes, a connection was lost or an answer is late, so all of it is idempotent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import msgspec
import torch

from pliant.comm.tree import Node
from pliant.parallel.layout import as_bytes
from pliant.parallel.partials import Partials
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import Frame, FrameReader, value_of
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.row_frames import in_slots, row_frames
from pliant.parallel.servers.slot_state import SlotState
from pliant.parallel.servers.targets import Target
from pliant.parallel.tables.merge import RowGrads
from pliant.transfer.row_slots import slot_of
from pliant.wire.server_messages import SLOTS

ANY = -1
"""Instead of the number of an update."""
_tickets = count()
Say = Callable[[le.Letter, Sequence[Frame]], None]


class Work(Protocol):
    """Something asked."""

    pending: set[int]
    """Slots without an answer."""

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """Ask one server for these of the pending slots. ``again``: it may have been asked before."""
        ...

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """An answer of a server; False if it is none to this."""
        ...


@dataclass
class PassWork:
    """The partial sums of a pass go out as buckets become ready, until all slots are complete."""

    hail: le.Hail
    nodes: list[Node]
    partials: Partials
    ranges: SlotRanges
    on_complete: Callable[[], None]
    ready: list[bool]
    rows: Mapping[Node, Mapping[str, RowGrads]] | None = None
    """Partial sums of the tables' rows; None: not known yet."""
    said: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    """By server: (bucket, slot) that it was sent, tables after the buckets; it is there from the Hail on."""
    pending: set[int] = field(default_factory=lambda: set(range(SLOTS)))

    def say_to(self, server: str, slots: Iterable[int], say: Say, *, version: int) -> None:
        """What is ready and was not sent to this server."""
        said = self.said.get(server)
        if said is None:
            said = self.said[server] = set()
            say(msgspec.structs.replace(self.hail, version=version), ())
        wanted = set(slots)
        for bucket, ready in enumerate(self.ready):
            if not ready:
                continue
            here = [
                part.slot
                for part in self.ranges.buckets[bucket]
                if part.slot in wanted and (bucket, part.slot) not in said
            ]
            if here:
                self._say_bucket(bucket, here, say, version=version)
                said.update((bucket, slot) for slot in here)
        for index, table in enumerate([] if self.rows is None else self.hail.tables, start=len(self.ready)):
            here = sorted(slot for slot in wanted if (index, slot) not in said)
            if here:
                self._say_rows(table, here, say, version=version)
                said.update((index, slot) for slot in here)

    def complete(self, letter: le.Complete) -> None:
        """A server says that slots are complete."""
        if (letter.generation, letter.pass_number) != (self.hail.generation, self.hail.pass_number):
            return
        before = bool(self.pending)
        self.pending.difference_update(le.slots_in(letter.runs))
        if before and not self.pending:
            self.on_complete()

    def _say_bucket(self, bucket: int, slots: list[int], say: Say, *, version: int) -> None:
        bounds = {part.slot: part for part in self.ranges.buckets[bucket]}
        runs = le.runs_of(slots)
        frames: list[Frame] = []
        for node in self.nodes:
            flat = self.partials.flats[node][bucket]
            for first, stop in runs:
                # A copy: after a crash the sums are merged in place, while this letter may still wait to leave.
                frames.append(as_bytes(flat[bounds[first].start : bounds[stop - 1].stop].clone()))
        hail = self.hail
        say(le.Part(version, hail.generation, hail.pass_number, hail.rank, bucket, runs), frames)

    def _say_rows(self, table: str, slots: list[int], say: Say, *, version: int) -> None:
        assert self.rows is not None
        frames: list[Frame] = []
        for node in self.nodes:
            rows = self.rows[node][table]
            inside = in_slots(rows.ids, slots)
            frames += row_frames(RowGrads(rows.ids[inside], rows.grads[inside]))
        hail, runs = self.hail, le.runs_of(slots)
        say(le.RowPart(version, hail.generation, hail.pass_number, hail.rank, table, runs), frames)


@dataclass
class UpdateWork:
    """An update of one optimizer; the new parameters go to ``target``."""

    number: int
    pass_number: int
    optimizer: str
    present: bytes
    option_frames: list[Frame]
    ranges: SlotRanges
    target: Target
    changed: list[torch.Tensor] | None
    """Flat buckets of gradients that the script has changed; None: it has not."""
    mine: set[int]
    """Slots of whose changed gradients this worker sends first; the others' only when it asks again."""
    pending: set[int] = field(default_factory=lambda: set(range(SLOTS)))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`Work`."""
        frames, sent = list(self.option_frames), []
        if self.changed is not None:
            sent = [slot for slot in slots if again or slot in self.mine]
            frames += [as_bytes(part) for slot in sent for part in self.ranges.cut(slot, self.changed)]
        letter = le.Update(
            version=version,
            number=self.number,
            pass_number=self.pass_number,
            optimizer=self.optimizer,
            present=self.present,
            wanted=le.runs_of(slots),
            option_tensors=len(self.option_frames) - 1,
            changed=self.changed is not None,
            runs=le.runs_of(sent),
        )
        say(letter, frames)

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`Work`."""
        if not isinstance(letter, le.Fresh) or letter.number != self.number:
            return False
        into(self.target, le.slots_in(letter.runs), reader, self.pending)
        return True


@dataclass
class RowUpdateWork:
    """The tables' rows of a pass are to be updated."""

    number: int
    pass_number: int
    pending: set[int] = field(default_factory=lambda: set(range(SLOTS)))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`Work`."""
        wanted = le.runs_of(slots)
        say(le.Update(version, self.number, self.pass_number, optimizer="", present=b"", wanted=wanted), ())

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`Work`."""
        if not isinstance(letter, le.Done) or letter.number != self.number:
            return False
        self.pending.difference_update(le.slots_in(letter.runs))
        return True


class PullWork:
    """Rows of rising ids, into ``rows``."""

    def __init__(self, table: str, ids: torch.Tensor, *, dim: int, number: int, step: int) -> None:
        self.rows = torch.empty(len(ids), dim)
        self.pending = set(slot_of(ids.numpy()).tolist())
        self._table, self._ids, self._number, self._step = table, ids, number, step
        self._ticket = next(_tickets)

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`Work`."""
        ids = self._ids[in_slots(self._ids, slots)]
        letter = le.Pull(version, self._ticket, self._number, self._step, self._table, le.runs_of(slots))
        say(letter, [as_bytes(ids)])

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`Work`."""
        if not isinstance(letter, le.Rows) or letter.ticket != self._ticket:
            return False
        told = set(le.slots_in(letter.runs))
        slots = self.pending & told
        inside = torch.nonzero(in_slots(self._ids, told))[:, 0]
        rows = reader.tensor(torch.float32, len(inside) * self.rows.shape[1]).view(len(inside), -1)
        if slots != told:  # the first answer counts, as in ``into``
            fresh = in_slots(self._ids[inside], slots)
            inside, rows = inside[fresh], rows[fresh]
        self.rows.index_copy_(0, inside, rows)
        self.pending -= slots
        return True


@dataclass
class LookWork:
    """The mean gradient of a pass goes to ``target``."""

    pass_number: int
    target: Target
    pending: set[int] = field(default_factory=lambda: set(range(SLOTS)))

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`Work`."""
        say(le.LookAt(version, self.pass_number, le.runs_of(slots)), ())

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`Work`."""
        if not isinstance(letter, le.Gradient) or letter.pass_number != self.pass_number:
            return False
        into(self.target, le.slots_in(letter.runs), reader, self.pending)
        return True


@dataclass
class DumpWork:
    """The state of all slots after an update; ``number`` :data:`ANY`: as they are."""

    number: int
    states: dict[int, SlotState] = field(default_factory=dict)
    tables: dict[int, dict[str, dict[str, torch.Tensor]]] = field(default_factory=dict)
    """By slot and table: its rows (:mod:`pliant.parallel.tables.snapshot`)."""
    pending: set[int] = field(default_factory=lambda: set(range(SLOTS)))
    size_bytes: int = 0
    """Of what has come."""

    def say(self, slots: list[int], say: Say, *, version: int, again: bool) -> None:
        """See :class:`Work`."""
        say(le.Dump(version, self.number, slots), ())

    def take(self, letter: le.Letter, reader: FrameReader) -> bool:
        """See :class:`Work`."""
        if not isinstance(letter, le.SlotDump) or self.number not in (ANY, letter.number):
            return False
        if letter.slot in self.pending:
            frames = list(reader.rest())
            self.size_bytes += sum(frame.nbytes for frame in frames)
            value: Any = value_of(frames)
            self.states[letter.slot] = SlotState.from_plain(value["dense"])
            self.tables[letter.slot] = {name: each["rows"] for name, each in value["tables"].items()}
            self.pending.discard(letter.slot)
        return True


def into(target: Target, slots: list[int], reader: FrameReader, pending: set[int]) -> None:
    """Copy frames of these slots to where they belong. Of one that has come already the first answer counts: a later
    one may be of a server that does not know yet that it counts as dead.
    """
    for slot in slots:
        target.read(slot, reader, keep=slot in pending)
        pending.discard(slot)
