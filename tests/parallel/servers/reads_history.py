"""What readers were shown, in the order of events, held against what they are promised (docs/design/0009)."""

from collections import Counter
from dataclasses import dataclass

import torch
from server_cluster import Onlooker, undisturbed

from pliant.parallel.layout import Layout, trained
from pliant.parallel.servers.client_work import DumpWork, LookWork, PassWork, PullWork, UpdateWork
from pliant.parallel.servers.pieces import SlotRanges
from pliant.parallel.servers.row_frames import in_slots
from pliant.wire.server_messages import SLOTS

IDS = torch.arange(-40, 40)
"""Of all rows that the model looks up."""


class ReadsBrokenError(AssertionError):
    """A reader was shown something else than it is promised."""


class Reference(Onlooker):
    """The bits of every slot after every update, as one process computes them."""

    def __init__(self, *, make_optimizer, steps, clip=0.0, table=False):
        self.params, self.gradients, self.rows = {}, {}, {}
        self._layout = None
        self.last = undisturbed(make_optimizer=make_optimizer, steps=steps, clip=clip, table=table, onlooker=self)

    def mean(self, step, model):
        self.gradients[step] = self._by_slot([param.grad for param in model.parameters()])

    def updated(self, number, model):
        if self._layout is None:
            self._layout = Layout(trained({"model": model}))
            self._ranges = SlotRanges(self._layout)
        self.params[number] = self._by_slot([param.detach() for param in model.parameters()])
        for table in model.tables.values():
            self.rows[number] = table.store.pull(IDS, step=number + 1).clone()

    def bits(self, flats, slot):
        """Of the pieces of parameters in a slot, padding aside."""
        return b"".join(
            flats[piece.bucket][piece.offset : piece.offset + piece.stop - piece.start].numpy().tobytes()
            for piece in self._ranges.pieces[slot]
        )

    def slot_bits(self, parts, slot):
        """The same, of a slot's ranges."""
        flats = self._layout.new_flats()
        for mine, theirs in zip(self._ranges.cut(slot, flats), parts, strict=True):
            mine.copy_(theirs)
        return self.bits(flats, slot)

    def rows_at(self, ids):
        """By update: the bits of these rows."""
        return {number: rows[ids + 40].numpy().tobytes() for number, rows in self.rows.items()}

    def _by_slot(self, tensors):
        flats = self._layout.new_flats()
        for index, tensor in enumerate(tensors):
            self._layout.view(flats, index).copy_(tensor)
        return {slot: self.bits(flats, slot) for slot in range(SLOTS)}


@dataclass(frozen=True)
class Shown:
    """A worker was shown a slot."""

    order: int
    worker: str
    slot: int
    what: str
    asked: int
    """The update, or for means and gradients the pass."""
    seen: int
    """That of which it has the bits."""


class History:
    """Of one cluster. Every event is checked at once, so that the first broken promise is the one that is told."""

    def __init__(self, reference):
        self.reference = reference
        self.shown = []
        self.kinds = Counter()
        """How many were shown of each kind."""
        self.newest, self.newest_mean = [0] * SLOTS, [-1] * SLOTS
        """By slot: the newest update, and pass, that anybody was shown."""
        self._begun = {}
        """By worker: ``newest`` when it began to ask."""

    def asked(self, worker, work):
        """A worker begins a request."""
        self._begun[worker] = list(self.newest)

    def took(self, worker, work, slots):
        """A worker has taken an answer with these slots."""
        for slot in sorted(slots):
            what, asked, bits, known = self._read(work, slot)
            self._note(worker, slot, what, asked=asked, seen=asked if bits is None else _seen(bits, asked, known))

    def leads(self, server, slot, record):
        """By the newest placement this server is primary of a slot: it must have all that anybody was shown."""
        if max(record.number, 0) < self.newest[slot]:  # what the job begins with, workers give again
            raise ReadsBrokenError(
                f"{server} leads slot {slot} at update {record.number}, and update {self.newest[slot]} was shown"
            )
        if record.pass_number < self.newest_mean[slot]:
            raise ReadsBrokenError(
                f"{server} leads slot {slot} with the mean of pass {record.pass_number}, and that of pass "
                f"{self.newest_mean[slot]} was said to be complete"
            )

    def _note(self, worker, slot, what, *, asked, seen):
        shown = Shown(len(self.shown), worker, slot, what, asked, seen)
        self.shown.append(shown)
        self.kinds[what] += 1
        if seen != asked:
            raise ReadsBrokenError(f"{shown}: that is not what was asked for")
        if what in ("mean", "gradient"):
            self.newest_mean[slot] = max(self.newest_mean[slot], seen)
        else:
            if seen < self._begun[worker][slot] and what != "done":
                raise ReadsBrokenError(f"{shown}: before it asked, others had been shown {self._begun[worker][slot]}")
            self.newest[slot] = max(self.newest[slot], seen)

    def _read(self, work, slot):
        """(kind, number asked for, bits that came or None, bits by number)."""
        known = self.reference
        match work:
            case PassWork():
                return "mean", work.hail.pass_number, None, {}
            case UpdateWork():
                return "params", work.number, known.slot_bits(work.target.cut(slot), slot), _of(known.params, slot)
            case LookWork():
                return (
                    "gradient",
                    work.pass_number,
                    known.slot_bits(work.target.cut(slot), slot),
                    _of(known.gradients, slot),
                )
            case DumpWork():
                bits = known.slot_bits(work.states[slot].params, slot)
                return "state", work.number, bits, _of(known.params, slot)
            case PullWork():
                inside = in_slots(work._ids, [slot])
                bits = work.rows[inside].numpy().tobytes()
                return "rows", work._number, bits, known.rows_at(work._ids[inside])
        return "done", work.number, None, {}


def _of(by_number, slot):
    return {number: slots[slot] for number, slots in by_number.items()}


def _seen(bits, asked, known):
    """The number with these bits: the one asked for, if it is one of them; -1: there never were such."""
    if known.get(asked) == bits:
        return asked
    return max((number for number, each in known.items() if each == bits), default=-1)
