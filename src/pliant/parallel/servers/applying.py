"""How a server carries out an update, as a primary or as a copy: with which gradients, and doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import torch

from pliant.parallel.pass_messages import union_bits
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import Frame, FrameReader, value_of
from pliant.parallel.servers.holdings import Holdings, flats_as_frames
from pliant.parallel.servers.row_frames import row_frames
from pliant.parallel.tables.merge import RowGrads


@dataclass
class Order:
    """An update, with what came along with it."""

    letter: le.Update
    options: list[dict[str, Any]]
    option_frames: list[Frame]
    changed: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    """Gradients that take the place of the mean, by slot."""
    rows: dict[int, dict[str, RowGrads]] = field(default_factory=dict)
    """The same of the tables, by slot and table."""

    def numbered(self, number: int) -> Order:
        """The same as update ``number``."""
        return replace(self, letter=msgspec.structs.replace(self.letter, number=number))

    def frames(self, slots: Sequence[int], *, copied: bool = False) -> list[Frame]:
        """To tell a copy of it, for these slots."""
        frames = list(self.option_frames)
        if self.letter.changed and self.letter.optimizer:
            frames += flats_as_frames((flat for slot in slots for flat in self.changed[slot]), copied=copied)
        elif self.letter.changed:
            frames += [frame for slot in slots for rows in self.rows[slot].values() for frame in row_frames(rows)]
        return frames


class Applying:
    """Updates of the slots that one server holds."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    def read_order(self, letter: le.Update, reader: FrameReader) -> Order:
        """The options that an update's frames begin with."""
        frames = list(reader.take(1 + letter.option_tensors)) if letter.optimizer else []
        return Order(letter, value_of(frames) if letter.optimizer else [], list(frames))

    def read_push(self, letter: le.Update, slots: Sequence[int], reader: FrameReader) -> Order:
        """What a worker has pushed."""
        order = self.read_order(letter, reader)
        if letter.optimizer:
            order.changed = {slot: self._holdings.read_slot(reader, slot) for slot in slots}
        else:
            order.rows = self._holdings.rows.read_push(reader, slots)
        return order

    def read_follow(self, order: Order, slot: int, reader: FrameReader) -> None:
        """What a primary says of the next slot."""
        if not order.letter.changed:
            return
        if order.letter.optimizer:
            order.changed[slot] = self._holdings.read_slot(reader, slot)
        else:
            order.rows[slot] = self._holdings.rows.read_pushed(reader)

    def apply(self, order: Order, slots: Sequence[int]) -> None:
        """Do it on these slots. Raises MemoryLimitError: no room for rows; of their table nothing was changed."""
        letter, holdings = order.letter, self._holdings
        if letter.lease >= 0:
            for slot in slots:
                holdings.leases_of(slot).note(letter.lease, letter.part, floor=letter.floor)
        if not letter.optimizer:
            for slot in slots if letter.changed else ():
                holdings.rows.set_means(slot, order.rows[slot])
            holdings.rows.apply(slots, step=letter.pass_number + 1)
            return
        grads: Mapping[int, list[torch.Tensor]] = {
            slot: order.changed[slot] if letter.changed else holdings.gradient(slot) for slot in slots
        }
        present = union_bits([letter.present], len(holdings.layout.params))
        holdings.store.apply(letter.optimizer, groups=order.options, grads=grads, present=present)
