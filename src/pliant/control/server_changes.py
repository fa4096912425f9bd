"""The events that tell users of each change among a job's parameter servers, with what it cost. No I/O, no clock.

A server's death stalls whoever waits for its answer: the stall is that of the two commits after it, as with a worker's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pliant.control.event_log import EventLog
from pliant.control.progress import Progress
from pliant.control.stalls import COMMITS_AFTER, stall_s
from pliant.ids import ServerId
from pliant.wire.server_messages import SlotPlace


@dataclass
class _OpenLoss:
    seq: int
    begin_s: float
    last_step: int


@dataclass
class _Restoring:
    """From a server's death on, until all slots have as many holders again as they should."""

    begin_s: float
    slots: set[int] = field(default_factory=set)
    """That somebody has got; who has told of them may tell again."""
    size_bytes: int = 0


class ServerChanges:
    """Follows placements, deaths and commits of one job."""

    def __init__(self, log: EventLog, progress: Progress) -> None:
        """Reads ``progress``; writes to ``log``."""
        self._log, self._progress = log, progress
        self._open: list[_OpenLoss] = []
        self._restoring: _Restoring | None = None
        self._received: dict[ServerId, int] = {}
        """Bytes that a server has been sent since it joined, or since it last had all that it should have."""
        self._met: set[ServerId] = set()
        self._newcomers: dict[ServerId, float] = {}
        """Newcomers, and when they were ready."""
        self.serving: list[ServerId] = []
        """Whoever holds a slot, oldest first."""
        self.over_time: list[tuple[float, int]] = []
        """(monotonic seconds, servers that hold slots) at each change."""

    def readied(self, server: ServerId, *, now_s: float) -> None:
        """A server can hold slots; what it says again after a break is no news."""
        if server not in self._met:
            self._met.add(server)
            self._newcomers[server] = now_s

    def received(self, server: ServerId, *, slots: Iterable[int], size_bytes: int) -> None:
        """A server has got slots."""
        self._received[server] = self._received.get(server, 0) + size_bytes
        if self._restoring is not None:
            self._restoring.slots.update(slots)
            self._restoring.size_bytes += size_bytes

    def lost(self, server: ServerId, how: str, *, places: Sequence[SlotPlace], now_s: float) -> None:
        """A server died unasked. ``places``: who held what before."""
        self._newcomers.pop(server, None)
        step = self._progress.step
        primary = [slot for slot, place in enumerate(places) if place.holders[:1] == [server]]
        copies = sum(server in place.holders[1:] for place in places)
        if not primary and not copies:
            self._log.record("server_lost", f"{server} is lost before it held anything: {how}", step=step)
            return
        alone = sum(place.holders == [server] for place in places)
        held = f"it was the primary of {_slots(len(primary))} and had a copy of {copies}"
        alone_text = f"; nobody else held {alone} of them" if alone else ""
        text = f"{server} is lost in step {step}: {how}; {held}{alone_text}"
        seq = self._log.record("server_lost", text, step=step)
        self._open.append(_OpenLoss(seq, now_s, step + COMMITS_AFTER - 1))
        if self._restoring is None:
            self._restoring = _Restoring(now_s)

    def placed(self, places: Sequence[SlotPlace], *, thin: int, copies: int, now_s: float) -> None:
        """There is a new placement. ``thin``: slots with fewer holders than there should be."""
        before, serving = self.serving, _holders(places)
        if not before:
            self._founded(serving, places, copies=copies)
        else:
            filling = {server for place in places for server in place.filling}
            for server in serving:
                if server in self._newcomers and server not in filling:
                    self._joined(server, places, serving=serving, now_s=now_s)
        if serving != before:
            self.serving = serving
            self.over_time.append((now_s, len(serving)))
        if self._restoring is not None and not thin:
            self._restored(copies=min(copies, len(serving)), now_s=now_s)

    def left(self, server: ServerId) -> None:
        """A server was let go of: it holds nothing any more."""
        if self._newcomers.pop(server, None) is None:
            count = _count(len([name for name in self.serving if name != server]))
            self._log.record("server_left", f"{server} left, others hold its slots: {count}", step=self._progress.step)

    def begin_again(self, *, now_s: float) -> None:
        """Nobody holds anything any more."""
        self._newcomers.clear()
        self._received.clear()
        self._restoring = None
        if self.serving:
            self.serving = []
            self.over_time.append((now_s, 0))

    def committed(self) -> None:
        """Progress grew: compute the stall of each loss whose window is over."""
        for loss in [loss for loss in self._open if self._progress.step > loss.last_step]:
            self._settle(loss)

    def end(self) -> None:
        """The job is over: whatever is open gets the numbers there are."""
        for loss in list(self._open):
            self._settle(loss)

    def _settle(self, loss: _OpenLoss) -> None:
        self._open.remove(loss)
        progress = self._progress
        last = loss.last_step - progress.first_step
        origin_s = progress.origin_s or 0.0
        stall = stall_s(progress.times_s, origin_s=origin_s, begin_s=loss.begin_s, last_step=last)
        self._log.update(loss.seq, stall_s=stall)

    def _founded(self, serving: Sequence[ServerId], places: Sequence[SlotPlace], *, copies: int) -> None:
        for server in serving:
            self._newcomers.pop(server, None)
        if not serving:
            return
        fewest = min(len(place.holders) for place in places)
        each = "1 copy" if fewest == 1 else f"{fewest} copies"
        lost = "should one die, the job goes back to its last checkpoint, if it has any"
        why = f" ({lost}; --servers {copies} keeps {copies} copies)" if fewest < copies else ""
        verb = "holds" if len(serving) == 1 else "hold"
        text = f"{', '.join(serving)} {verb} the slots: {_count(len(serving))}, {each} of each{why}"
        self._log.record("servers_founded", text, step=self._progress.step)

    def _joined(
        self, server: ServerId, places: Sequence[SlotPlace], *, serving: Sequence[ServerId], now_s: float
    ) -> None:
        since_s = self._newcomers.pop(server)
        held = sum(server in place.holders for place in places)
        text = f"{server} joined: {_count(len(serving))}; it got {_slots(held)} in {now_s - since_s:.2f} s"
        seq = self._log.record("servers_joined", text, step=self._progress.step)
        self._log.update(seq, bytes_moved=self._received.pop(server, None) or None)

    def _restored(self, *, copies: int, now_s: float) -> None:
        restoring, self._restoring = self._restoring, None
        if restoring is None or not restoring.slots:
            return  # a server less was wanted than there were copies
        each = "1 holder" if copies == 1 else f"{copies} holders"
        took_s = now_s - restoring.begin_s
        text = f"each slot has {each} again: {_slots(len(restoring.slots))} filled in {took_s:.2f} s"
        seq = self._log.record("slots_restored", text, step=self._progress.step)
        self._log.update(seq, bytes_moved=restoring.size_bytes or None)


def slots_text(slots: Sequence[int]) -> str:
    """``slot 7``, ``slots 0-31, 40``."""
    return f"{'slot' if len(slots) == 1 else 'slots'} {', '.join(_runs(slots))}"


def _runs(slots: Sequence[int]) -> Iterator[str]:
    first = last = None
    for slot in [*sorted(slots), None]:
        if first is not None and last is not None and (slot is None or slot != last + 1):
            yield str(first) if first == last else f"{first}-{last}"
            first = None
        first, last = (slot if first is None else first), slot


def _holders(places: Sequence[SlotPlace]) -> list[ServerId]:
    return sorted({ServerId(name) for place in places for name in place.holders}, key=lambda name: int(name[1:]))


def _count(servers: int) -> str:
    return "1 server" if servers == 1 else f"{servers} servers"


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count} slots"
