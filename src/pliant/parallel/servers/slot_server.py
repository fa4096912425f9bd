"""A parameter server's work: partial sums in, the optimizer applied, new parameters out; slots on several servers each.

One thread. ``handle`` takes a letter, ``placed`` a placement, ``flush`` sends what has become ready: call it whenever
no letter waits. Who may be told what is decided in :mod:`~pliant.parallel.servers.replica_state`; the tensors are in a
:class:`~pliant.parallel.servers.dense_store.DenseStore`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pliant.errors import ProtocolError
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.dense_store import DenseStore
from pliant.parallel.servers.filling import Filling
from pliant.parallel.servers.holdings import Holdings
from pliant.parallel.servers.mail import Mail
from pliant.parallel.servers.passes import Passes
from pliant.parallel.servers.pulls import Pulls
from pliant.parallel.servers.replica_state import ReplicaState
from pliant.parallel.servers.row_passes import RowPasses
from pliant.parallel.servers.updates import Updates
from pliant.parallel.tables.row_store import RowStore
from pliant.wire.server_messages import PlaceSlots

_log = logging.getLogger(__name__)
MOST_EARLY = 10_000
"""Letters of a placement that has not come here yet. The oldest are dropped: they will be said again."""


class SlotServer:
    """The slots of one server.

    Args:
        server: its id.
        mail: to workers and other servers.
        store: empty.
        tables: empty.
        report: tells the coordinator that this server has slots: (placement version, slots, bytes that came for them).
    """

    def __init__(
        self,
        server: str,
        mail: Mail,
        store: DenseStore,
        *,
        report: Callable[[int, list[int], int], None],
        tables: Mapping[str, RowStore] = MappingProxyType({}),
    ) -> None:
        self.state = ReplicaState(server)
        self.dropped = 0
        """Letters that made no sense."""
        self._holdings = Holdings(self.state, mail, store, RowPasses(tables))
        self._passes = Passes(self._holdings)
        self._updates = Updates(self._holdings)
        self._pulls = Pulls(self._holdings)
        self._filling = Filling(self._holdings, report)
        self._placement: PlaceSlots | None = None
        self._era = 0
        self._early: deque[tuple[str, le.Letter, Sequence[memoryview]]] = deque(maxlen=MOST_EARLY)

    @property
    def tables(self) -> list[RowStore]:
        """Rows that are held here."""
        return list(self._holdings.rows.stores.values())

    @property
    def busy(self) -> bool:
        """``flush`` has more to do."""
        return self._filling.busy

    def placed(self, placement: PlaceSlots) -> None:
        """The coordinator says who holds what."""
        if placement.version <= self.state.version:
            return
        self._placement = placement
        moved = self.state.place(placement.version, placement.slots)
        for slot in moved.dropped:
            self._holdings.forget(slot)
        self._passes.moved(dropped=moved.dropped, promoted=moved.promoted)
        self._filling.fill(moved.to_fill)
        self._filling.tell_counted(moved.counted)
        early, self._early = self._early, deque(maxlen=MOST_EARLY)
        for sender, letter, frames in early:
            self.handle(sender, letter, frames)

    def handle(self, sender: str, letter: le.Letter, frames: Sequence[memoryview]) -> None:
        """A letter. One that makes no sense is dropped and counted; it changes nothing that others rely on."""
        if getattr(letter, "version", 0) > self.state.version:
            self._early.append((sender, letter, frames))
            return
        if isinstance(letter, le.OF_AN_ERA) and not self._is_of_now(letter):
            return
        try:
            self._take(sender, letter, frames)
        except (ProtocolError, LookupError) as error:
            self.dropped += 1
            _log.warning("a letter %s of %s was dropped: %s", type(letter).__name__, sender, error)

    def _is_of_now(self, letter: le.Hail | le.Pull | le.Update | le.LookAt | le.Begin | le.Dump) -> bool:
        """The sender is not a worker of what the job was before it began again."""
        if letter.era > self._era:
            self._era = letter.era
            self._passes.forget()
            self._updates.forget()
            self._pulls.forget()
        return letter.era == self._era or (letter.era == 0 and isinstance(letter, le.Pull))

    def reconnected(self, server: str) -> None:
        """Letters to this copy may have been lost: it gets its slots anew."""
        self._filling.fill([(slot, server) for slot in self.state.lost_letters(server)])

    def flush(self) -> None:
        """Send what has become ready."""
        self._passes.flush()
        self._updates.flush()
        self._pulls.flush()
        self._filling.flush()

    def _take(self, sender: str, letter: le.Letter, frames: Sequence[memoryview]) -> None:
        match letter:
            case le.Part():
                self._passes.part(letter, frames)
            case le.RowPart():
                self._passes.row_part(letter, frames)
            case le.Pull():
                self._pulls.pull(sender, letter, frames)
            case le.Hail():
                self._passes.hail(sender, letter)
            case le.Update():
                self._updates.update(sender, letter, frames)
            case le.GotMean():
                self.state.got_mean(sender, letter.pass_number, le.slots_in(letter.runs))
            case le.GotUpdate():
                self.state.got_update(sender, letter.number, le.slots_in(letter.runs))
            case le.Mean():
                self._passes.mean(sender, letter, frames)
            case le.RowMean():
                self._passes.row_mean(sender, letter, frames)
            case le.Follow():
                self._updates.follow(sender, letter, frames)
            case le.LookAt():
                self._passes.look(sender, letter)
            case le.Begin():
                self._filling.begin(letter, frames, copies=self._others(letter.slot))
            case le.Dump():
                self._filling.dump(sender, letter)
            case le.Snapshot():
                self._filling.snapshot(sender, letter, frames)
            case le.GotSlots():
                self._filling.got_slots(sender, letter)
            case le.Counted():
                self._filling.counted(sender, letter)
            case le.Behind():
                self._filling.fill([(slot, sender) for slot in letter.slots if self.state.is_primary(slot)])
            case _:
                raise ProtocolError(f"{type(letter).__name__} is no letter to a server")

    def _others(self, slot: int) -> list[str]:
        if self._placement is None:
            return []
        place = self._placement.slots[slot]
        return [server for server in (*place.holders, *place.filling) if server != self.state.server]
