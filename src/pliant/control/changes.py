"""Which generation a job trains in, and the events that tell users of each change with what it cost. No I/O.

Each worker that dies is one event, and so is each of: workers joined, shrunk away, left. Events that are answered
by the same generation (two deaths in one recovery) carry the same numbers: one stall happened, all are its cause.
An event's window runs from its beginning (a death; the announcement of a planned generation) until two commits after
the answering generation was entered; if another event falls into it, the stall counts for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pliant.control.event_log import EventLog
from pliant.control.progress import Progress
from pliant.control.stalls import COMMITS_AFTER, stall_s
from pliant.errors import ProtocolError
from pliant.ids import WorkerId
from pliant.wire.messages import GenerationEntered, GenerationKind

_KEPT_GENERATIONS = 64


@dataclass
class GenerationRecord:
    """One generation, as announced, and what its members said on entering."""

    number: int
    kind: GenerationKind
    ranks: dict[WorkerId, int]
    announced_s: float
    awaited: set[WorkerId]
    """Members that have still to enter it, and live."""
    step: int | None = None
    entered: set[WorkerId] = field(default_factory=set)
    recomputed: set[int] = field(default_factory=set)
    bytes_moved: int = 0


@dataclass
class _OpenEvent:
    seq: int
    begin_s: float
    generation: int | None
    """The generation that answers it; None until that is announced."""


class Changes:
    """Follows announcements, entries, deaths and commits of one job."""

    def __init__(self, log: EventLog, progress: Progress) -> None:
        """Reads ``progress``; writes to ``log``."""
        self._log = log
        self._progress = progress
        self._records: dict[int, GenerationRecord] = {}
        self._open: list[_OpenEvent] = []
        self._lost: set[WorkerId] = set()
        self._left: set[WorkerId] = set()
        self.current: GenerationRecord | None = None
        """The newest generation that at least one member has entered."""
        self._from = 0
        """Earlier generations are over, whatever is still heard of them."""
        self.workers_over_time: list[tuple[float, int]] = []
        """(monotonic seconds, training workers) at each change."""

    def training(self) -> list[WorkerId]:
        """Live members of the current generation, by rank."""
        return [worker for worker in self._members() if worker not in self._left]

    def _members(self) -> list[WorkerId]:
        """As :meth:`training`, with those that have left since they entered the generation."""
        if self.current is None:
            return []
        ranks = self.current.ranks
        return sorted((worker for worker in ranks if worker not in self._lost), key=ranks.__getitem__)

    @property
    def newest(self) -> int:
        """Number of the last announced generation; 0 before the first."""
        return next(reversed(self._records), 0)

    @property
    def settled(self) -> bool:
        """Whether somebody has entered the last announced generation."""
        return self.current is not None and self.current.number == self.newest

    def is_member_of_newest(self, worker: WorkerId) -> bool:
        """Whether the last announced generation includes ``worker``."""
        record = self._records.get(self.newest)
        return record is not None and worker in record.ranks

    def announced(self, number: int, kind: GenerationKind, *, ranks: dict[WorkerId, int], now_s: float) -> None:
        """A generation is being formed; deaths that no entered generation has answered yet are answered by it."""
        if number in self._records:
            return  # told again to someone who reconnected
        awaited = set(ranks) - self._lost - self._left
        self._records[number] = GenerationRecord(number, kind, dict(ranks), now_s, awaited)
        while len(self._records) > _KEPT_GENERATIONS:
            del self._records[next(iter(self._records))]
        for event in self._open:
            answer = None if event.generation is None else self._records.get(event.generation)
            if answer is None or answer.step is None:
                event.generation = number

    def entered(
        self, worker: WorkerId, message: GenerationEntered, *, is_leaving: Callable[[WorkerId], bool], now_s: float
    ) -> None:
        """A member entered a generation. Late and repeated ones change nothing.

        Raises:
            ProtocolError: It was never announced, or not to this worker. Nothing changed.
        """
        record = self._records.get(message.generation)
        if record is None and self.current is not None and message.generation < self.current.number:
            return
        if record is None or worker not in record.ranks:
            raise ProtocolError(f"{worker} entered generation {message.generation}, which it is not a member of")
        if worker in record.entered:
            return
        record.entered.add(worker)
        record.recomputed.update(message.shards_recomputed)
        record.bytes_moved += message.bytes_received
        if record.number >= self._from and (self.current is None or record.number > self.current.number):
            self._switch(record, step=message.step, is_leaving=is_leaving, now_s=now_s)
        record.awaited.discard(worker)
        if not record.awaited:
            self._each_open(record.number, self._tell_cost)

    def begin_again(self) -> None:
        """Nobody holds the job's state any more: the next generation is a founding."""
        self.current, self._from = None, self.newest + 1

    def lost(self, worker: WorkerId, how: str, *, now_s: float) -> None:
        """A worker died unasked. ``how``: for the message, e.g. ``killed by SIGKILL``."""
        before = len(self.training())
        self._lost.add(worker)
        self._await_no_more(worker)
        after = len(self.training())
        step = self._progress.step
        if after == before:
            self._log.record(
                "newcomer_lost", f"{worker} ({how}) before it trained", step=step, before=before, after=after
            )
            return
        rank = self.current.ranks[worker] if self.current else 0
        seq = self._log.record(
            "worker_lost", f"{worker}, rank {rank} of {before}, is lost in step {step}: {how}", step=step, before=before
        )
        self._open.append(_OpenEvent(seq, now_s, None))
        self.workers_over_time.append((now_s, after))

    def left(self, worker: WorkerId) -> None:
        """A worker's process ended as it should."""
        self._left.add(worker)
        self._await_no_more(worker)

    def _await_no_more(self, worker: WorkerId) -> None:
        for record in self._records.values():
            record.awaited.discard(worker)

    def committed(self) -> None:
        """Progress grew: compute the stall of each event whose window is over."""
        self._settle(lambda record: record is not None and self._is_over(record))

    def end(self) -> None:
        """The job is over: whatever is open gets the numbers there are."""
        self._settle(lambda record: True)

    def _is_over(self, record: GenerationRecord) -> bool:
        return record.step is not None and self._progress.step >= record.step + COMMITS_AFTER

    def _settle(self, ready: Callable[[GenerationRecord | None], bool]) -> None:
        for event in list(self._open):
            record = None if event.generation is None else self._records.get(event.generation)
            if not ready(record):
                continue
            self._open.remove(event)
            last = self._progress.step if record is None or record.step is None else record.step + COMMITS_AFTER - 1
            progress = self._progress
            stall = stall_s(
                progress.times_s,
                origin_s=progress.origin_s or 0.0,
                begin_s=event.begin_s,
                last_step=last - progress.first_step,
            )
            self._log.update(event.seq, stall_s=stall)
            if record is not None and record.step is not None:
                self._tell_cost(event, record)
            else:
                self._log.update(event.seq, workers_after=len(self.training()))

    def _each_open(self, generation: int, act: Callable[[_OpenEvent, GenerationRecord], None]) -> None:
        for event in self._open:
            if event.generation == generation:
                act(event, self._records[generation])

    def _tell_cost(self, event: _OpenEvent, record: GenerationRecord) -> None:
        self._log.update(
            event.seq,
            workers_after=len(record.ranks),
            shards_recomputed=len(record.recomputed),
            bytes_moved=record.bytes_moved,
        )

    def _switch(
        self, record: GenerationRecord, *, step: int, is_leaving: Callable[[WorkerId], bool], now_s: float
    ) -> None:
        """The first member has entered ``record``."""
        old = self._members()
        record.step = step
        self.current = record
        after = len(record.ranks)
        self.workers_over_time.append((now_s, after))
        if record.kind == "founding":
            self._progress.begin(now_s)
            names = ", ".join(worker for worker, _ in sorted(record.ranks.items(), key=lambda item: item[1]))
            verb = "goes on" if step else "begins"
            text = f"training {verb} with {_count(after)}: {names}"
            self._open_event("generation_founded", text, record=record, before=0)
            return
        known = set(old)
        added = [worker for worker in record.ranks if worker not in known]
        removed = [worker for worker in old if worker not in record.ranks]
        leavers = [worker for worker in removed if is_leaving(worker)]
        others = [worker for worker in removed if not is_leaving(worker)]
        # A recovery leaves nobody out but newcomers whom the death kept from getting the state.
        shrunk, set_back = ([], others) if record.kind == "recovery" else (others, [])
        for kind, workers, verb in (
            ("workers_joined", added, "joined"),
            ("worker_left", leavers, "left as it was asked to"),
            ("workers_shrunk", shrunk, "went, as fewer workers are wanted"),
            ("newcomers_set_back", set_back, "did not get the state in time, and will join later"),
        ):
            if workers:
                text = f"{', '.join(workers)} {verb}: {_count(after)} from step {step} on (before: {len(old)})"
                self._open_event(kind, text, record=record, before=len(old))

    def _open_event(self, kind: str, text: str, *, record: GenerationRecord, before: int) -> None:
        seq = self._log.record(kind, text, step=record.step or 0, before=before, after=len(record.ranks))
        self._open.append(_OpenEvent(seq, record.announced_s, record.number))


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
