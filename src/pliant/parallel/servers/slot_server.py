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
from pliant.parallel.servers.applying import Applying
from pliant.parallel.servers.dense_store import DenseStore
from pliant.parallel.servers.filling import Filling
from pliant.parallel.servers.holdings import Holdings
from pliant.parallel.servers.ledger_desk import LedgerDesk
from pliant.parallel.servers.mail import Mail
from pliant.parallel.servers.passes import Passes
from pliant.parallel.servers.pulls import Pulls
from pliant.parallel.servers.pushes import Pushes
from pliant.parallel.servers.replica_state import ReplicaState
from pliant.parallel.servers.row_passes import RowPasses
from pliant.parallel.servers.updates import Updates
from pliant.parallel.tables.row_store import RowStore
from pliant.wire.server_messages import PlaceSlots, SlotsFilled, SlotsRefused

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
        report: tells the coordinator what has become of slots that were sent here.
    """

    def __init__(
        self,
        server: str,
        mail: Mail,
        store: DenseStore,
        *,
        report: Callable[[SlotsFilled | SlotsRefused], None],
        tables: Mapping[str, RowStore] = MappingProxyType({}),
    ) -> None:
        self.state = ReplicaState(server)
        self.dropped = 0
        """Letters that made no sense."""
        self._holdings = Holdings(self.state, mail, store, RowPasses(tables))
        self._passes = Passes(self._holdings)
        applying = Applying(self._holdings)
        self._updates = Updates(self._holdings, applying)
        self._pushes = Pushes(self._holdings, applying)
        self._pulls = Pulls(self._holdings)
        self._filling = Filling(self._holdings, report)
        self._placement: PlaceSlots | None = None
        self._era = 0
        self._desk = LedgerDesk(self._holdings, lambda: self._era)
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
        self._updates.moved(moved.to_check)
        self._filling.fill(moved.to_fill)
        self._filling.tell_counted(moved.counted)
        self._desk.placed()
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

    def _is_of_now(self, letter: le.OfAnEra) -> bool:
        """The sender is not a worker of what the job was before it began again."""
        if letter.era > self._era:
            self._era = letter.era
            self._holdings.full = None
            self._passes.forget()
            self._updates.forget()
            self._pulls.forget()
            self._pushes.forget()
            self._desk.forget()
        return letter.era == self._era or (letter.era == 0 and isinstance(letter, le.MAY_LOOK))

    def reconnected(self, server: str) -> None:
        """Letters to this copy may have been lost: it gets its slots anew."""
        self._desk.reconnected(server)
        self._filling.fill([(slot, server) for slot in self.state.lost_letters(server)])

    def flush(self) -> None:
        """Send what has become ready."""
        self._passes.flush()
        self._updates.flush()
        self._pulls.flush()
        self._pushes.flush()
        self._desk.flush()
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
                self._filling.begin(sender, letter, frames=frames, copies=self._others(letter.slot))
            case le.Dump():
                self._filling.dump(sender, letter)
            case le.Check():
                self._updates.check(sender, letter)
            case le.Snapshot():
                self._filling.snapshot(sender, letter, frames)
            case le.GotSlots():
                self._filling.got_slots(sender, letter)
            case le.Counted():
                self._filling.counted(sender, letter)
            case le.Behind():
                self._filling.fill([(slot, sender) for slot in letter.slots if self.state.is_primary(slot)])
            case _:
                self._take_of_lease(sender, letter, frames)

    def _take_of_lease(self, sender: str, letter: le.Letter, frames: Sequence[memoryview]) -> None:
        match letter:
            case le.Push():
                self._pushes.push(sender, letter, frames)
            case le.Read():
                self._pushes.read(sender, letter)
            case le.AskLease():
                self._desk.ask(sender, letter)
            case le.Keep():
                self._desk.keep(sender, letter, frames)
            case le.Fetch():
                self._desk.fetch(sender, letter)
            case le.Ledger():
                self._desk.ledger(sender, letter)
            case le.KeepToo():
                self._desk.keep_too(sender, letter, frames)
            case le.GotLedger():
                self._desk.got_ledger(sender, letter)
            case _:
                raise ProtocolError(f"{type(letter).__name__} is no letter to a server")

    def _others(self, slot: int) -> list[str]:
        if self._placement is None:
            return []
        place = self._placement.slots[slot]
        return [server for server in (*place.holders, *place.filling) if server != self.state.server]
