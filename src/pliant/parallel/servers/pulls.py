"""Rows that workers want: answered as soon as all updates that they have seen were done here, and may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pliant.parallel.layout import as_bytes
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.frames import FrameReader
from pliant.parallel.servers.holdings import Holdings
from pliant.parallel.servers.row_frames import in_slots, read_ids


@dataclass
class _Waiting:
    letter: le.Pull
    ids: torch.Tensor
    slots: set[int]


class Pulls:
    """Of one server. Looking changes nothing, so copies need not know."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._waiting: dict[str, _Waiting] = {}
        """By worker: it asks for one table at a time."""

    def forget(self) -> None:
        """The job has begun again."""
        self._waiting = {}

    def pull(self, worker: str, letter: le.Pull, frames: Sequence[memoryview]) -> None:
        """A worker wants rows; an earlier wish of it is void."""
        ids = read_ids(FrameReader(frames))
        self._waiting[worker] = _Waiting(letter, ids, set(le.slots_in(letter.runs)))
        self._holdings.ask_to_begin(worker, le.slots_in(letter.runs))
        self._answer(worker)

    def flush(self) -> None:
        """Answer what can be answered by now."""
        for worker in list(self._waiting):
            self._answer(worker)

    def _answer(self, worker: str) -> None:
        waiting = self._waiting[worker]
        letter = waiting.letter
        ready = {slot for slot in waiting.slots if self._holdings.state.shown(slot, letter.number)}
        if not ready:
            return
        store = self._holdings.rows.stores[letter.table]
        all_of_them = ready == set(le.slots_in(letter.runs))
        ids = waiting.ids if all_of_them else waiting.ids[in_slots(waiting.ids, ready)]
        rows = store.pull(ids, step=letter.step)
        self._holdings.mail.answer(worker, le.Rows(letter.ticket, le.runs_of(ready)), [as_bytes(rows.view(-1))])
        waiting.slots -= ready
        if not waiting.slots:
            del self._waiting[worker]
