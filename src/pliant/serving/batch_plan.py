"""Which waiting requests go into a replica's next batch, and which are refused. Pure.

A batch is what came together while the replicas were busy. Nobody waits for a fuller one unless ``wait_s`` says so:
on a small model a window of 5 ms makes one client's answers four times slower and gains nothing, and under load the
batches fill by themselves.

Requests are taken in the order of their arrival. Only those with the same ``key`` (shape and type of the inputs, or
what the model's bucketing makes of them, see ``shape_plan``) fit into one batch; the oldest request decides which key
it is, so none starves: however many of another key come, it is taken after no more batches than there were requests
before it. A request may be of several rows, and is never split.

A request whose deadline has passed is dropped when its turn comes. One whose deadline cannot be met, given what waits
before it and how long batches take, is refused when it arrives; so is one that finds ``most_waiting`` rows waiting.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class BatchRules:
    """Sizes are in rows, times in seconds."""

    most_rows: int = 32
    most_waiting: int = 1024
    """Rows that may wait; more are refused at once."""
    wait_s: float = 0.0
    """How long a batch that is not full may wait for more, counted from its oldest request."""


@dataclass(frozen=True)
class Waiting:
    """One request in the queue. Times are of one monotonic clock, in seconds."""

    id: int
    arrived_s: float
    rows: int = 1
    key: Hashable = None
    deadline_s: float | None = None


@dataclass(frozen=True)
class Refusal:
    """Why a request is not taken. ``retry_after_s``: when there may be room."""

    reason: str
    late: bool = False
    """Its deadline cannot be met; otherwise there is no room."""
    retry_after_s: float = 1.0


@dataclass(frozen=True)
class Batch:
    """Requests that are computed together, and those that came too late."""

    requests: tuple[Waiting, ...] = ()
    expired: tuple[Waiting, ...] = ()


class BatchQueue:
    """The requests that wait for one model's replicas."""

    def __init__(self, rules: BatchRules) -> None:
        self.rules = rules
        self.rows = 0
        """Waiting."""
        self._queue: dict[int, Waiting] = {}
        """By id, the oldest first."""
        self._rows_of: dict[Hashable, int] = {}
        """Key to the rows that wait."""

    def __len__(self) -> int:
        """Requests waiting."""
        return len(self._queue)

    def offer(self, request: Waiting, *, now_s: float, slots: int, batch_s: float) -> Refusal | None:
        """Take the request into the queue, or say why not.

        Args:
            request: with an ``id`` that is in no use.
            now_s: the present.
            slots: batches that are computed at a time: the replicas that there are, or will be.
            batch_s: how long a full batch takes, as measured; 0 if unknown.
        """
        if request.rows > self.rules.most_rows:
            return Refusal(f"{request.rows} rows; a batch holds {self.rules.most_rows}", retry_after_s=0.0)
        wait_s = self.expected_wait_s(slots=slots, batch_s=batch_s)
        if self.rows + request.rows > self.rules.most_waiting:
            return Refusal(f"{self.rows} rows are waiting", retry_after_s=max(wait_s / 2, 0.1))
        if request.deadline_s is not None and now_s + wait_s + batch_s > request.deadline_s:
            left_s = request.deadline_s - now_s
            reason = f"{left_s:.3f} s are left, {wait_s + batch_s:.3f} s will be needed"
            return Refusal(reason, late=True, retry_after_s=max(wait_s, 0.1))
        self._queue[request.id] = request
        self._count(request.key, request.rows)
        return None

    def put_back(self, requests: Sequence[Waiting]) -> None:
        """To the head of the queue, in their order: their replica died. They are never refused."""
        self._queue = {**{request.id: request for request in requests}, **self._queue}
        for request in requests:
            self._count(request.key, request.rows)

    def drop(self, request: int) -> None:
        """Nobody waits for the answer of this id any more. Harmless if it is not in the queue."""
        self._remove([self._queue[request]] if request in self._queue else [])

    def take(self, now_s: float) -> Batch:
        """The next batch: empty if nothing waits, or if it is worth waiting for more (:meth:`due_s`: until when)."""
        expired: list[Waiting] = []
        chosen: list[Waiting] = []
        rows = 0
        for request in self._queue.values():
            if request.deadline_s is not None and request.deadline_s <= now_s:
                expired.append(request)
            elif not chosen or (request.key == chosen[0].key and rows + request.rows <= self.rules.most_rows):
                chosen.append(request)
                rows += request.rows
            if rows == self.rules.most_rows:
                break
        if chosen and rows < self.rules.most_rows and now_s < chosen[0].arrived_s + self.rules.wait_s:
            chosen = []
        self._remove([*expired, *chosen])
        return Batch(tuple(chosen), tuple(expired))

    def due_s(self) -> float | None:
        """When the oldest request has waited for a fuller batch long enough; None if none waits."""
        return next((request.arrived_s + self.rules.wait_s for request in self._queue.values()), None)

    def expected_wait_s(self, *, slots: int, batch_s: float) -> float:
        """Until a request that comes now would be taken, if all slots are busy and batches are filled."""
        batches = sum(ceil(rows / self.rules.most_rows) for rows in self._rows_of.values())
        return batch_s * batches / max(slots, 1)

    def _remove(self, requests: Sequence[Waiting]) -> None:
        for request in requests:
            del self._queue[request.id]
            self._count(request.key, -request.rows)

    def _count(self, key: Hashable, rows: int) -> None:
        """So many rows of this key more, or fewer."""
        self.rows += rows
        self._rows_of[key] = self._rows_of.get(key, 0) + rows
        if not self._rows_of[key]:
            del self._rows_of[key]
