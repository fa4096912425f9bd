"""Which request is where: the router's state machine for one version of one model. Pure.

Rules:

* A request is in exactly one place: waiting in the queue, waiting in a *lot* (a batch that must be computed as it is),
  or owed by one replica. It ends exactly once: answered, failed, or left by its client.
* A replica owes one batch at a time, and is given the next when it owes nothing.
* When a replica dies, what it owes goes back to the head of the queue. A request over which two have died is computed
  alone from then on, and fails when the third one dies over it. One whose answer has begun, or that must not be
  repeated, fails at once.
* When ``predict`` raises over a batch, its halves become lots of their own; over one request, that one fails.

Theory of operation: every method takes an event and returns decisions in the order in which they are to be carried
out. Lots come before the queue. Of the free replicas the one that was busy last gets the next batch, so that those that
are not needed stay idle and can go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Literal

from pliant.serving.autoscale_plan import Sight
from pliant.serving.batch_plan import BatchQueue, BatchRules
from pliant.serving.route_events import (
    Cancel,
    Compute,
    Decision,
    Fail,
    FailureKind,
    KillReplica,
    Refuse,
    Replica,
    Request,
    RetireReplica,
    StartReplica,
)

MOST_DEATHS = 3
"""Replicas that may die over one request; over the last one it was alone."""
MOST_EARLY_DEATHS = 3
"""Replicas in a row that end before they are ready: more would, too."""


class RouteState:
    """All requests and replicas of one version. ``batch_s``, ``start_s``, ``rate`` are measured by the caller."""

    def __init__(self, rules: BatchRules) -> None:
        self.queue = BatchQueue(rules)
        self.replicas: dict[int, Replica] = {}
        self.batch_s = 0.0
        """How long a full batch takes; 0 if unknown."""
        self.stopping = False
        self.broken = ""
        """Why no replica can be started; empty while that is not known to be so."""
        self._requests: dict[int, Request] = {}
        self._lots: deque[tuple[Request, ...]] = deque()
        self._free: list[int] = []
        self._wanted: int | None = None
        """None: nobody has said yet; as many as there are."""
        self._numbers = 0
        self._early_deaths = 0

    # ------------------------------------------------------------ what can be seen

    def __len__(self) -> int:
        """Requests at the front door: waiting, or computed for a client that is still there."""
        return len(self._requests)

    @property
    def waiting(self) -> int:
        """Of these, those that no replica computes."""
        return len(self._requests) - sum(
            number in self._requests for replica in self.replicas.values() for number in replica.owes
        )

    def sight(self, *, start_s: float, rate: float) -> Sight:
        """For the autoscaler."""
        able = [replica for replica in self.replicas.values() if not replica.draining]
        ready = sum(replica.ready for replica in able)
        return Sight(ready, len(able) - ready, start_s, rate)

    # ------------------------------------------------------------ requests

    def came(self, request: Request, now_s: float) -> list[Decision]:
        """A request is complete at the front door. Its id must be in no use."""
        if self.stopping:
            return [Refuse(request.id, "the service is being stopped", "stopping")]
        if self.broken:
            return [Refuse(request.id, self.broken, "broken")]
        slots = sum(not replica.draining for replica in self.replicas.values())
        refusal = self.queue.offer(request.waiting, now_s=now_s, slots=max(slots, 1), batch_s=self.batch_s)
        if refusal is not None:
            kind: Literal["late", "full"] = "late" if refusal.late else "full"
            return [Refuse(request.id, refusal.reason, kind, refusal.retry_after_s)]
        self._requests[request.id] = request
        return self._feed(now_s)

    def client_left(self, request_id: int, now_s: float) -> list[Decision]:
        """Nobody waits for the answer any more. Harmless if it has ended."""
        request = self._requests.get(request_id)
        if request is None:
            return []
        self._forget(request)
        for replica in self.replicas.values():
            if request_id in replica.owes:
                return [Cancel(replica.id, request_id)]
        return self._feed(now_s)

    def answer_began(self, request_id: int) -> None:
        """The first byte of the answer goes out now: it cannot be computed anew after this."""
        if request_id in self._requests:
            self._requests[request_id].begun = True

    # ------------------------------------------------------------ replicas

    def answered(self, replica_id: int, request_ids: Iterable[int], now_s: float) -> list[Decision]:
        """The replica owes these no longer. Ignored for what it does not owe (it was given to another meanwhile)."""
        replica = self.replicas.get(replica_id)
        if replica is None:
            return []
        for request_id in request_ids:
            if replica.owes.pop(request_id, None) is not None:
                self._requests.pop(request_id, None)
                replica.batches += not replica.owes
        return self._freed(replica, now_s)

    def raised(self, replica_id: int, reason: str, now_s: float) -> list[Decision]:
        """``predict`` raised over what the replica owes; the replica is well."""
        replica = self.replicas.get(replica_id)
        if replica is None or not replica.owes:
            return []
        decisions: list[Decision] = []
        owed = [request for request in replica.owes.values() if not self._is_over(request)]
        replica.owes.clear()
        begun = [request for request in owed if request.begun]
        rest = [request for request in owed if not request.begun]
        decisions += [self._fail(request, "raised", reason) for request in begun]
        if len(rest) == 1:
            decisions.append(self._fail(rest[0], "raised", reason))
        elif rest:
            half = len(rest) // 2
            self._lots.extendleft([tuple(rest[half:]), tuple(rest[:half])])
        return decisions + self._freed(replica, now_s)

    def found(self, replica_id: int, now_s: float) -> None:
        """An earlier router has started this one: it counts as starting, until it is ready or has died."""
        self._numbers = max(self._numbers, replica_id)
        self.replicas.setdefault(replica_id, Replica(replica_id, since_s=now_s))

    def replica_ready(self, replica_id: int, now_s: float) -> list[Decision]:
        """It can compute. One that is not known, of an earlier router, becomes known."""
        replica = self.replicas.setdefault(replica_id, Replica(replica_id))
        self._numbers = max(self._numbers, replica_id)
        if replica.ready:
            return []
        replica.ready, replica.since_s = True, now_s
        self._early_deaths, self.broken = 0, ""
        return self._freed(replica, now_s)

    def replica_died(self, replica_id: int, how: str, now_s: float) -> list[Decision]:
        """Its process has ended, or its socket has. Harmless if it is not known any more."""
        replica = self.replicas.pop(replica_id, None)
        if replica is None:
            return []
        self._free = [free for free in self._free if free != replica_id]
        decisions = self._inherit([r for r in replica.owes.values() if not self._is_over(r)], how)
        if not replica.ready and not replica.draining:
            self._early_deaths += 1
        if self._early_deaths >= MOST_EARLY_DEATHS and not any(other.ready for other in self.replicas.values()):
            return decisions + self._break(f"{self._early_deaths} replicas in a row did not start; the last: {how}")
        return decisions + self._level(now_s) + self._feed(now_s)

    def replica_hangs(self, replica_id: int, reason: str, now_s: float) -> list[Decision]:
        """It has been silent, or at one batch, for too long. Ignored if it is not known any more."""
        if replica_id not in self.replicas:
            return []
        return [KillReplica(replica_id, reason), *self.replica_died(replica_id, reason, now_s)]

    # ------------------------------------------------------------ the number of replicas

    def scale(self, wanted: int, now_s: float) -> list[Decision]:
        """From now on there should be so many replicas."""
        self._wanted = wanted
        return self._level(now_s) + self._feed(now_s)

    def stop(self, now_s: float) -> list[Decision]:
        """Take nothing more, answer what was taken, then let all replicas go. Over when :attr:`replicas` is empty."""
        self.stopping = True
        return self._level(now_s) + self._feed(now_s)

    def unable(self, why: str) -> list[Decision]:
        """The model cannot be loaded: no replica can be started, whatever is tried."""
        self._early_deaths = MOST_EARLY_DEATHS
        for number in [number for number, replica in self.replicas.items() if not replica.ready]:
            del self.replicas[number]
        return [] if any(replica.ready for replica in self.replicas.values()) else self._break(why)

    def mend(self, now_s: float) -> list[Decision]:
        """Try again to start replicas."""
        self.broken, self._early_deaths = "", 0
        return self._level(now_s)

    def tick(self, now_s: float) -> list[Decision]:
        """Time has passed: deadlines of waiting requests, a window for batches."""
        return self._feed(now_s)

    # ------------------------------------------------------------ parts

    def _feed(self, now_s: float) -> list[Decision]:
        """Give free replicas what waits."""
        decisions: list[Decision] = []
        while self._free:
            batch = self._next(now_s, decisions)
            if not batch:
                break
            replica = self.replicas[self._free.pop()]
            replica.owes = {request.id: request for request in batch}
            replica.since_s = now_s
            decisions.append(Compute(replica.id, tuple(replica.owes)))
        if self.stopping and not self._requests:
            decisions += self._level(now_s)
        return decisions

    def _next(self, now_s: float, decisions: list[Decision]) -> tuple[Request, ...]:
        while self._lots:
            lot = tuple(request for request in self._lots.popleft() if not self._is_over(request))
            late = [r for r in lot if r.deadline_s is not None and r.deadline_s <= now_s]
            decisions += [self._fail(request, "late", "its deadline passed while it waited") for request in late]
            lot = tuple(request for request in lot if request not in late)
            if lot:
                return lot
        batch = self.queue.take(now_s)
        for late_one in batch.expired:
            decisions.append(self._fail(self._requests[late_one.id], "late", "its deadline passed while it waited"))
        return tuple(self._requests[waiting.id] for waiting in batch.requests)

    def _freed(self, replica: Replica, now_s: float) -> list[Decision]:
        """It owes nothing, perhaps: it goes, or gets more."""
        if replica.owes or not replica.ready:
            return []
        if replica.draining:
            del self.replicas[replica.id]
            return [RetireReplica(replica.id), *self._level(now_s)]
        if replica.id not in self._free:
            self._free.append(replica.id)
        return self._level(now_s) + self._feed(now_s)

    def _level(self, now_s: float) -> list[Decision]:
        """Start or let go as many as are missing or too many."""
        wanted = self._wanted if self._wanted is not None else len(self.replicas)
        if self.stopping:
            wanted = min(max(wanted, 1), len(self.replicas) or 1) if self._requests else 0
        able = [replica for replica in self.replicas.values() if not replica.draining]
        decisions: list[Decision] = []
        for replica in self.replicas.values():  # those that are going come back first
            if len(able) < wanted and replica.draining:
                replica.draining = False
                able.append(replica)
                if replica.ready and not replica.owes:
                    self._free.append(replica.id)
        while len(able) < wanted and self._early_deaths < MOST_EARLY_DEATHS:
            self._numbers += 1
            replica = Replica(self._numbers, since_s=now_s)
            self.replicas[replica.id] = replica
            able.append(replica)
            decisions.append(StartReplica(replica.id))
        surplus = sorted(able, key=self._dispensable)[: max(0, len(able) - wanted)]
        for replica in surplus:
            replica.draining = True
            self._free = [free for free in self._free if free != replica.id]
            if not replica.owes:
                del self.replicas[replica.id]
                decisions.append(RetireReplica(replica.id))
        return decisions

    def _dispensable(self, replica: Replica) -> tuple[int, float]:
        """Those that still start go first, then the idle ones (longest idle first), then the busy ones."""
        if not replica.ready:
            return 0, -replica.since_s
        if replica.id in self._free:
            return 1, self._free.index(replica.id)
        return 2, -replica.since_s

    def _inherit(self, owed: Sequence[Request], how: str) -> list[Decision]:
        """What becomes of the requests of a replica that died."""
        decisions: list[Decision] = []
        again: list[Request] = []
        for request in owed:
            request.deaths += 1
            if request.begun:
                decisions.append(self._fail(request, "cut", f"the replica ended in the middle of the answer: {how}"))
            elif not request.repeatable:
                decisions.append(
                    self._fail(request, "killed", f"a replica ended over it, and it must not be repeated: {how}")
                )
            elif request.deaths >= MOST_DEATHS:
                decisions.append(self._fail(request, "killed", f"{request.deaths} replicas ended over it: {how}"))
            elif request.deaths == MOST_DEATHS - 1:
                self._lots.append((request,))
            else:
                again.append(request)
        self.queue.put_back([request.waiting for request in again])
        return decisions

    def _break(self, why: str) -> list[Decision]:
        """No replica is left and none can be started: nobody who waits will be answered."""
        self.broken = why
        owed = {number for replica in self.replicas.values() for number in replica.owes}
        return [self._fail(request, "broken", why) for request in [*self._requests.values()] if request.id not in owed]

    def _fail(self, request: Request, kind: FailureKind, reason: str) -> Fail:
        self._forget(request)
        return Fail(request.id, kind, reason)

    def _forget(self, request: Request) -> None:
        self._requests.pop(request.id, None)
        self.queue.drop(request.id)

    def _is_over(self, request: Request) -> bool:
        """Its client has left, or it has ended."""
        return request.id not in self._requests
