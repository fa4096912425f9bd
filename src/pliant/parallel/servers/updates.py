"""A server's part in updates: the optimizer is applied once, on every holder of a slot, and workers get the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pliant.errors import MemoryLimitError
from pliant.parallel.pass_messages import union_bits
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import Frame, FrameReader, value_of
from pliant.parallel.servers.holdings import Holdings, flats_as_frames


@dataclass
class Ordered:
    """An update that workers have asked for."""

    letter: le.Update
    options: list[dict[str, Any]]
    option_frames: list[Frame]
    changed: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    """Gradients that take the place of the mean, by slot."""


class Updates:
    """Updates of the slots that one server holds."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._ordered: Ordered | None = None
        self._asked: dict[str, tuple[int, set[int], bool]] = {}
        """By worker: update, slots of it that it has not been sent, and whether it wants no parameters."""

    def forget(self) -> None:
        """The job has begun again."""
        self._ordered, self._asked = None, {}

    # ------------------------------------------------------------ from workers

    def update(self, worker: str, letter: le.Update, frames: Sequence[memoryview]) -> None:
        """A worker wants an update, and its result."""
        reader = FrameReader(frames)
        option_frames = _option_frames(letter, reader)
        self._asked[worker] = (letter.number, set(le.slots_in(letter.wanted)), not letter.optimizer)
        ordered = self._ordered
        if ordered is None or ordered.letter.number < letter.number:
            ordered = self._ordered = Ordered(letter, _options(letter, option_frames), list(option_frames))
        if ordered.letter.number == letter.number:
            for slot in le.slots_in(letter.runs):
                flats = self._holdings.read_slot(reader, slot)
                if slot in self._holdings.state.slots:
                    ordered.changed.setdefault(slot, flats)
            self._do(ordered)

    def _do(self, ordered: Ordered) -> None:
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
            copied = self._holdings.uncounted(server, slots)
            flats = (flat for slot in slots for flat in ordered.changed[slot]) if letter.changed else ()
            frames = [*ordered.option_frames, *flats_as_frames(flats, copied=copied)]
            self._holdings.mail.command(server, follow, frames)
        for slot in now:
            state.update_ordered(slot, letter.number)
        self._apply(ordered, now)

    # ------------------------------------------------------------ between servers

    def follow(self, sender: str, letter: le.Follow, frames: Sequence[memoryview]) -> None:
        """As a copy: the primary does an update."""
        state, update = self._holdings.state, letter.update
        reader = FrameReader(frames)
        option_frames = _option_frames(update, reader)
        changed = {}
        take, got, behind = [], [], []
        for slot in le.slots_in(letter.runs):
            if update.changed:
                changed[slot] = self._holdings.read_slot(reader, slot)
            verdict = state.on_update(sender, slot, number=update.number, pass_number=update.pass_number)
            if verdict == "take":
                take.append(slot)
            if verdict in ("take", "known"):
                got.append(slot)
            elif verdict == "behind":
                behind.append(slot)
        if got:  # received is as good as done: the primary need not wait for the arithmetic
            self._holdings.mail.answer(sender, le.GotUpdate(update.number, le.runs_of(got)))
        if behind:
            self._holdings.mail.answer(sender, le.Behind(behind))
        if take:
            for slot in take:
                state.slots[slot].number = update.number
            self._apply(Ordered(update, _options(update, option_frames), list(option_frames), changed), take)

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
                frames = flats_as_frames(flat for slot in ready for flat in self._holdings.store.params(slot))
                self._holdings.mail.answer(worker, le.Fresh(number, le.runs_of(ready)), frames)
            wanted.difference_update(ready)
            if not wanted:
                del self._asked[worker]

    def _apply_rows(self, letter: le.Update, slots: Sequence[int]) -> None:
        try:
            self._holdings.rows.apply(slots, step=letter.pass_number + 1)
        except MemoryLimitError as error:
            for worker in self._asked:
                self._holdings.mail.answer(worker, le.Trouble(error=str(error)))

    def _apply(self, ordered: Ordered, slots: Sequence[int]) -> None:
        letter, store = ordered.letter, self._holdings.store
        if not letter.optimizer:
            self._apply_rows(letter, slots)
            return
        grads: Mapping[int, list[torch.Tensor]] = {
            slot: ordered.changed[slot] if letter.changed else self._holdings.gradient(slot) for slot in slots
        }
        present = union_bits([letter.present], len(self._holdings.layout.params))
        store.apply(letter.optimizer, groups=ordered.options, grads=grads, present=present)


def _option_frames(letter: le.Update, reader: FrameReader) -> Sequence[memoryview]:
    return reader.take(1 + letter.option_tensors) if letter.optimizer else ()


def _options(letter: le.Update, frames: Sequence[memoryview]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = value_of(frames) if letter.optimizer else []
    return found
