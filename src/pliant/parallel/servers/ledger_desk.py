"""The ledger of leases on the servers that hold :data:`~pliant.parallel.servers.lease_letters.LEDGER_SLOT`.

Its primary hears workers, and answers once every counted copy has what the answer follows from: the whole state, which
is small. Beside it lies what the main worker has given to be kept for newcomers; that is sent on, and nobody waits for
it: whoever finds none asks again, and the main worker gives it again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pliant.parallel.leases.ledger import Asked, Given, LeaseLedger
from pliant.parallel.servers import letters as le
from pliant.parallel.servers.holdings import Holdings
from pliant.parallel.servers.lease_letters import LEDGER_SLOT

ENDS = 2
"""So many calls that have ended are remembered as they were then: a slow worker may come to the end of one late."""


@dataclass
class _Copy:
    """What is known of one other holder."""

    sent: int = -1
    got: int = -1
    has: set[tuple[int, int, bool]] = field(default_factory=set)
    """What of all that is kept."""


@dataclass
class _Kept:
    call: int
    step: int
    end: bool
    frames: list[bytes] = field(default_factory=list)

    @property
    def name(self) -> tuple[int, int, bool]:
        """Of no other."""
        return self.call, self.step, self.end


class LedgerDesk:
    """Of one server; does nothing where the slot is not held.

    Args:
        holdings: shared with the rest of the server's work.
        era: in which workers are now.
    """

    def __init__(self, holdings: Holdings, era: Callable[[], int]) -> None:
        self._holdings, self._era = holdings, era
        self.forget()

    def forget(self) -> None:
        """The job has begun again."""
        self._ledger = LeaseLedger()
        self._sequence = 0
        self._kept: _Kept | None = None
        """The newest."""
        self._ends: dict[int, _Kept] = {}
        """As it was when calls ended, of the newest ones."""
        self._waiting: dict[str, tuple[int, Asked]] = {}
        """Ticket and wish of each worker without an answer."""
        self._answers: list[tuple[int, str, int, Given]] = []
        """(sequence that copies must have, worker, ticket, answer)."""
        self._copies: dict[str, _Copy] = {}

    # ------------------------------------------------------------ from workers

    def ask(self, worker: str, letter: le.AskLease) -> None:
        """A worker has done something, or wants something to do."""
        if not self._primary:
            return
        self._answers = [each for each in self._answers if each[1] != worker]
        self._waiting[worker] = (letter.ticket, letter.asked)
        self._ledger.hear(worker, letter.asked)
        self._decide()

    def keep(self, worker: str, letter: le.Keep, frames: Sequence[memoryview]) -> None:
        """The main worker's state. A newer one takes its place."""
        if not self._primary:
            return
        self._take(_Kept(letter.call, letter.step, letter.end, [bytes(frame) for frame in frames]))
        self._holdings.mail.answer(worker, le.Kept(letter.ticket, letter.call))

    def fetch(self, worker: str, letter: le.Fetch) -> None:
        """A newcomer wants it."""
        if not self._primary:
            return
        kept = self._ends.get(letter.call) if letter.end else self._kept
        if kept is None or (kept.call, kept.step) < (letter.call, letter.step):
            self._holdings.mail.answer(worker, le.Kept(letter.ticket, -1))
        else:
            self._holdings.mail.answer(worker, le.Kept(letter.ticket, kept.call), kept.frames)

    # ------------------------------------------------------------ between servers

    def ledger(self, sender: str, letter: le.Ledger) -> None:
        """As a copy: what the primary knows."""
        if not self._copied_from(sender):
            return
        if letter.sequence >= self._sequence:
            self._ledger, self._sequence = LeaseLedger(letter.state), letter.sequence
        self._holdings.mail.answer(sender, le.GotLedger(letter.sequence))

    def keep_too(self, sender: str, letter: le.KeepToo, frames: Sequence[memoryview]) -> None:
        """As a copy: what is kept for newcomers."""
        if self._copied_from(sender):
            self._take(_Kept(letter.call, letter.step, letter.end, [bytes(frame) for frame in frames]))

    def got_ledger(self, sender: str, letter: le.GotLedger) -> None:
        """As the primary: a copy has it."""
        copy = self._copies.get(sender)
        if copy is not None:
            copy.got = max(copy.got, letter.sequence)

    def placed(self) -> None:
        """Who was told something may not have been a holder then: whatever has no answer is said again."""
        for copy in self._copies.values():
            copy.sent = min(copy.sent, copy.got)

    def reconnected(self, server: str) -> None:
        """Letters to this copy may have been lost."""
        self._copies.pop(server, None)

    # ------------------------------------------------------------ what has become ready

    def flush(self) -> None:
        """Tell the copies, and workers whose answers no copy lacks."""
        record = self._holdings.state.slots.get(LEDGER_SLOT)
        if record is None or record.role != "primary":
            self._waiting, self._answers, self._copies = {}, [], {}
            return
        others = (record.holders | record.filling | record.counted) - {self._holdings.state.server}
        self._copies = {server: self._copies.get(server, _Copy()) for server in others}
        for server, copy in sorted(self._copies.items()):
            self._tell(server, copy)
        known = min((self._copies[server].got for server in record.counted & others), default=self._sequence)
        due = [each for each in self._answers if each[0] <= known]
        self._answers = [each for each in self._answers if each[0] > known]
        for _, worker, ticket, given in due:
            self._holdings.mail.answer(worker, le.GiveLease(ticket, given))

    def _tell(self, server: str, copy: _Copy) -> None:
        version, era = self._holdings.state.version, self._era()
        if copy.sent < self._sequence:
            copy.sent = self._sequence
            self._holdings.mail.command(server, le.Ledger(version, self._sequence, era, self._ledger.state))
        here = {kept.name: kept for kept in (*self._ends.values(), self._kept) if kept is not None}
        for name, kept in here.items():
            if name not in copy.has:
                self._holdings.mail.command(server, le.KeepToo(version, *name, era), kept.frames)
        copy.has = set(here)

    def _take(self, kept: _Kept) -> None:
        if self._kept is None or (kept.call, kept.step) >= (self._kept.call, self._kept.step):
            self._kept = kept
        if kept.end:
            self._ends[kept.call] = kept
            self._ends = dict(sorted(self._ends.items())[-ENDS:])

    def _decide(self) -> None:
        """Answer all who can be answered by now."""
        self._sequence += 1
        for worker, (ticket, asked) in list(self._waiting.items()):
            given = self._ledger.give(worker, asked)
            if given is not None:
                del self._waiting[worker]
                self._answers.append((self._sequence, worker, ticket, given))

    @property
    def _primary(self) -> bool:
        record = self._holdings.state.slots.get(LEDGER_SLOT)
        return record is not None and record.role == "primary"

    def _copied_from(self, sender: str) -> bool:
        record = self._holdings.state.slots.get(LEDGER_SLOT)
        return record is not None and record.role != "primary" and record.primary == sender
